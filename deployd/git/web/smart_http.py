"""Git over smart HTTP as a resource: who asks, for which app, for what; the work itself is done by workers.

The paths are ``/APP[.git]/info/refs?service=...``, ``/APP[.git]/git-upload-pack`` and ``/APP[.git]/git-receive-pack``;
APP may have slashes. Nothing about an app, not even whether there is one, is told before the credentials are right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.errors import Busy
from deployd.git.access import Access, Action
from deployd.git.problems import GitProblem
from deployd.git.repositories import Repositories
from deployd.git.serving.advertising import RECEIVE, UPLOAD, advertise
from deployd.git.web.answers import Answer, begin, finish, refuse
from deployd.git.web.fetches import Fetches
from deployd.git.web.flights import Flights, Room
from deployd.git.web.guesses import Guesses
from deployd.git.web.pushing import Host, Intake
from deployd.git.web.streaming import ClientGone, abort
from deployd.git.work.orders import HEAVY, QUICK, UPKEEP, Order, Unfinished
from deployd.git.work.pool import Pool
from deployd.git.work.upkeep import Upkeep
from deployd.git.work.values import to_json
from deployd.model.invalid import Invalid
from deployd.model.names import app_name

Following = Callable[[], Awaitable[None]]

_ADVERTISEMENT = "/info/refs"
_BUSY = http.SERVICE_UNAVAILABLE
_VERSION = re.compile(rb"(?:^|:)version=([12])(?::|$)")


@frozen
class Asked:
    """What a path asks for. ``service`` is "" for an advertisement, whose query names it."""

    app: str
    service: str


class GitResource(Resource):
    """Serves every app's repository. Mount it as the fallback of a site's root: it reads the request's whole path."""

    isLeaf = True
    log = Logger()

    def __init__(
        self, *, repositories: Repositories, access: Access, reactor: Any, pool: Pool, spool: Path, host: Host
    ) -> None:
        super().__init__()
        self.limits = limits = repositories.limits
        self.flights = Flights(str(spool), Room(limits.cache_bytes, limits.cache_files), self._in_thread)
        self._repositories = repositories
        self._access = access
        self._reactor = reactor
        self._pool = pool
        self._fetches = Fetches(reactor, limits, pool, self.flights, self._in_thread)
        self._upkeep = Upkeep(reactor, self._consolidate, limits.pushes_between)
        self._intake = Intake(repositories, host, reactor, pool, self._upkeep)
        self._requests: Counter[str] = Counter()
        self.guesses = Guesses(reactor, limits.refusal_seconds, limits.refusals_waiting)

    def close(self) -> None:
        """Begin nothing that nobody waits for, and keep no packs."""
        self._upkeep.stop()
        self.flights.close()

    def getChild(self, path: bytes, request: Request) -> GitResource:
        """Every path below is this resource's too."""
        return self

    def room(self, user: bytes, password: bytes, path: bytes) -> int:
        """How many bytes a body may have in addition to a stranger's, as these credentials are for ``path``."""
        try:
            asked = parse_path(path.partition(b"?")[0])
        except Answer:
            return 0
        if self._permission(user, password, asked.app, asked.service) is None:
            return 0
        return self.limits.pack_bytes if asked.service == RECEIVE else self.limits.request_bytes

    def render(self, request: Request) -> int:
        """Answer later; every failure becomes an answer here."""
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(lambda failure: self.log.failure("Answering a git request failed.", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        following: Following | None = None
        client = _client(request)
        self._requests[client] += 1
        # Nobody holds anything for ever by taking a little now and then.
        ending = self._reactor.callLater(self.limits.answer_seconds, abort, request)
        try:
            self._admit(client)
            following = await self._dispatch(request)
        except (Answer, Busy, Unfinished) as problem:
            if not gone:
                refuse(request, problem if isinstance(problem, Answer) else Answer(_BUSY, str(problem)))
        except ClientGone:
            self.log.debug("A git client left early.")
        except GitProblem as problem:
            self.log.error("{path} is damaged: {problem}", path=request.path, problem=str(problem))
            if not gone:
                refuse(request, Answer(http.INTERNAL_SERVER_ERROR, f"the repository on the hub is damaged: {problem}"))
        except Exception:
            self.log.failure("A git request failed.")
            if not gone:
                refuse(request, Answer(http.INTERNAL_SERVER_ERROR, "the hub failed; its log says more"))
        finally:
            if ending.active():
                ending.cancel()
            self._requests[client] -= 1
            self._requests += Counter()
        if following is not None:
            await self._go_on(following)

    def _admit(self, client: str) -> None:
        if self._requests.total() > self.limits.requests:
            raise Answer(_BUSY, "the hub has too many git requests at once; try again")
        if self._requests[client] > self.limits.client_requests:
            raise Answer(_BUSY, "too many git requests at once come from your address; try again")

    async def _go_on(self, following: Following) -> None:
        """Holds neither worker nor lock, so it is not one of the requests that are counted."""
        try:
            await following()
        except ClientGone:
            self.log.debug("A pusher left before all was told.")

    async def _dispatch(self, request: Request) -> Following | None:
        """Answer; what is returned goes on with the answer when the request has cost what it costs."""
        asked = parse_path(request.path)
        service = asked.service
        if not service:
            if request.method != b"GET":
                raise Answer(http.NOT_ALLOWED, "only GET is allowed here")
            names = request.args.get(b"service", [])
            service = names[0].decode("ascii", "replace") if len(names) == 1 else ""
            if service not in (UPLOAD, RECEIVE):
                raise Answer(http.FORBIDDEN, "deployd serves git-upload-pack and git-receive-pack over smart HTTP only")
        elif request.method != b"POST":
            raise Answer(http.NOT_ALLOWED, "only POST is allowed here")
        deployed = await self._authorize(request, asked.app, service)
        if not asked.service:
            await self._advertise(request, asked.app, service, deployed)
            return None
        if request.getHeader(b"Content-Type") != f"application/x-{service}-request".encode():
            raise Answer(http.UNSUPPORTED_MEDIA_TYPE, f"the content type must be application/x-{service}-request")
        if service == UPLOAD:
            await self._fetches.answer(request, self._known(asked.app), _version(request), deployed)
            return None
        return await self._intake.receive(request, asked.app)

    async def _authorize(self, request: Request, app: str, service: str) -> bool:
        """Raise a 401 unless permitted, slowly where credentials are wrong; whether deployed commits may be seen."""
        password = request.getPassword()
        permitted = self._permission(request.getUser(), password, app, service)
        if permitted is not None:
            return permitted
        if password:
            await self._put_off(request)
        request.setHeader(b"WWW-Authenticate", b'Basic realm="deployd"')
        raise Answer(http.UNAUTHORIZED, "the secret is missing or wrong")

    def _permission(self, user: bytes, password: bytes, app: str, service: str) -> bool | None:
        """True: with deployed commits; False: without; None: not at all."""
        if service == RECEIVE:
            return False if self._access.permits(user, password, app, Action.WRITE) else None
        if user == b"drone" and self._access.permits(user, password, app, Action.FETCH_DEPLOYED):
            return True
        return False if self._access.permits(user, password, app, Action.READ) else None

    async def _put_off(self, request: Request) -> None:
        """Wait until a wrong guess may be refused; no longer than its client does."""
        waiting = Deferred.fromCoroutine(self.guesses.put_off(_client(request)))
        request.notifyFinish().addErrback(lambda _: waiting.cancel())
        try:
            await waiting
        except CancelledError:
            raise ClientGone from None

    async def _advertise(self, request: Request, app: str, service: str, deployed: bool) -> None:
        path = self._known(app) if service == UPLOAD or self._repositories.exists(app) else None
        # What comes next is real work.
        self._pool.warm(HEAVY)
        version = _version(request)
        begin(request, f"application/x-{service}-advertisement")
        if service == UPLOAD and version >= 2:
            # It says nothing of the repository.
            self._pool.warm(QUICK)
            finish(request, advertise(None, service, version))
            return
        order = Order(
            name="advertise",
            arguments={
                "repository": str(path or ""),
                "service": service,
                "version": version,
                "deployed": deployed,
            },
            repository=str(path or ""),
            seconds=self.limits.question_seconds,
            again=True,
        )
        finish(request, (await self._pool.run(order)).body)

    def _consolidate(self, app: str) -> Deferred[object]:
        path = str(self._repositories.path(app))
        order = Order(
            name="consolidate",
            arguments={"repository": path, "limits": to_json(self.limits)},
            repository=path,
            lane=UPKEEP,
            seconds=self.limits.push_seconds,
        )
        return cast("Deferred[object]", self._pool.run(order))

    def _known(self, app: str) -> Path:
        if not self._repositories.exists(app):
            raise Answer(http.NOT_FOUND, f"there is no app {app} on the hub; git push creates it")
        return self._repositories.path(app)

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *arguments)


def _client(request: Request) -> str:
    return str(getattr(request.getClientAddress(), "host", ""))


def _version(request: Request) -> int:
    """The highest version of git's protocol that the client says it speaks."""
    found = _VERSION.findall(request.getHeader(b"Git-Protocol") or b"")
    return max(map(int, found), default=0)


def parse_path(path: bytes) -> Asked:
    """What ``path`` asks for; raise a 404 Answer when it is none of git's, or names no app."""
    text = unquote_to_bytes(path).decode("utf-8", "backslashreplace")
    for ending, service in ((_ADVERTISEMENT, ""), ("/" + UPLOAD, UPLOAD), ("/" + RECEIVE, RECEIVE)):
        if text.endswith(ending):
            try:
                return Asked(app_name(text[1 : -len(ending)].removesuffix(".git")), service)
            except Invalid as problem:
                raise Answer(http.NOT_FOUND, str(problem)) from problem
    raise Answer(http.NOT_FOUND, "there is nothing here; the hub serves git over smart HTTP at /APP")
