"""Git over smart HTTP as a resource: who asks, for which app, for what; the work itself is done in threads.

The paths are ``/APP[.git]/info/refs?service=...``, ``/APP[.git]/git-upload-pack`` and ``/APP[.git]/git-receive-pack``;
APP may have slashes. Nothing about an app, not even whether there is one, is told before the credentials are right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.git import pktlines
from deployd.git.access import Access, Action
from deployd.git.problems import GitProblem, NotOurs
from deployd.git.repositories import Repositories
from deployd.git.serving.upload import RECEIVE, UPLOAD, advertise, upload_pack
from deployd.git.web.answers import Answer, begin, finish, refuse, take_body
from deployd.git.bodies import plain_body, read_limited
from deployd.git.web.pushing import Host, Intake
from deployd.git.web.streaming import ClientGone, Outlet, abort
from deployd.model.invalid import Invalid
from deployd.model.names import app_name

Following = Callable[[], Awaitable[None]]

T = TypeVar("T")
_ADVERTISEMENT = "/info/refs"


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
        self, *, repositories: Repositories, access: Access, reactor: Any, threadpool: ThreadPool, host: Host
    ) -> None:
        super().__init__()
        self.limits = repositories.limits
        self._repositories = repositories
        self._access = access
        self._reactor = reactor
        self._threadpool = threadpool
        self._intake = Intake(repositories, host, reactor, self._in_thread)
        self._requests = 0
        self._uploads = DeferredSemaphore(self.limits.uploads)

    def getChild(self, path: bytes, request: Request) -> GitResource:
        """Every path below is this resource's too."""
        return self

    def knows(self, user: bytes, password: bytes, path: bytes) -> bool:
        """Whether these credentials may do anything to the app that ``path`` names; for the bound on a body."""
        try:
            asked = parse_path(path.partition(b"?")[0])
        except Answer:
            return False
        action = Action.WRITE if asked.service == RECEIVE else Action.READ
        return (
            self._may_read(user, password, asked.app) is not None
            if action is Action.READ
            else (self._access.permits(user, password, asked.app, action))
        )

    def render(self, request: Request) -> int:
        """Answer later; every failure becomes an answer here."""
        answering = Deferred.fromCoroutine(self._answer(request))
        answering.addErrback(lambda failure: self.log.failure("Answering a git request failed.", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        self._requests += 1
        following: Following | None = None
        try:
            if self._requests > self.limits.requests:
                raise Answer(http.SERVICE_UNAVAILABLE, "the hub has too many git requests at once; try again")
            following = await self._dispatch(request)
        except Answer as answer:
            if not gone:
                refuse(request, answer)
        except ClientGone:
            self.log.debug("A git client left early.")
        except Exception:
            self.log.failure("A git request failed.")
            if not gone:
                refuse(request, Answer(http.INTERNAL_SERVER_ERROR, "the hub failed; its log says more"))
        finally:
            self._requests -= 1
        if following is not None:
            await self._go_on(following)

    async def _go_on(self, following: Following) -> None:
        """Holds neither thread nor lock, so it is not one of the requests that are counted."""
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
        deployed = self._authorize(request, asked.app, service)
        if not asked.service:
            await self._advertise(request, asked.app, service, deployed)
            return None
        if request.getHeader(b"Content-Type") != f"application/x-{service}-request".encode():
            raise Answer(http.UNSUPPORTED_MEDIA_TYPE, f"the content type must be application/x-{service}-request")
        if service == UPLOAD:
            await self._upload(request, asked.app, deployed)
            return None
        return await self._intake.receive(request, asked.app)

    def _authorize(self, request: Request, app: str, service: str) -> bool:
        """Raise a 401 unless permitted; return whether deployed commits may be seen."""
        user, password = request.getUser(), request.getPassword()
        if service == RECEIVE:
            permitted = False if self._access.permits(user, password, app, Action.WRITE) else None
        else:
            permitted = self._may_read(user, password, app)
        if permitted is None:
            request.setHeader(b"WWW-Authenticate", b'Basic realm="deployd"')
            raise Answer(http.UNAUTHORIZED, "the secret is missing or wrong")
        return permitted

    def _may_read(self, user: bytes, password: bytes, app: str) -> bool | None:
        """True: with deployed commits; False: without; None: not at all."""
        if user == b"drone" and self._access.permits(user, password, app, Action.FETCH_DEPLOYED):
            return True
        return False if self._access.permits(user, password, app, Action.READ) else None

    async def _advertise(self, request: Request, app: str, service: str, deployed: bool) -> None:
        path = self._repositories.path(app) if self._repositories.exists(app) else None
        if path is None and service == UPLOAD:
            raise Answer(http.NOT_FOUND, f"there is no app {app} on the hub; git push creates it")
        body = await self._in_thread(lambda: advertise(path, service, deployed))
        begin(request, f"application/x-{service}-advertisement")
        finish(request, body)

    async def _upload(self, request: Request, app: str, deployed: bool) -> None:
        if not self._repositories.exists(app):
            raise Answer(http.NOT_FOUND, f"there is no app {app} on the hub; git push creates it")
        try:
            await self._uploads.acquire().addTimeout(self.limits.stall_seconds, self._reactor)
        except TimeoutError:
            raise Answer(http.SERVICE_UNAVAILABLE, "too many fetches are under way; try again in a moment") from None
        try:
            if request.channel is None:
                raise ClientGone
            await self._send_pack(request, self._repositories.path(app), app, deployed)
        finally:
            self._uploads.release()

    async def _send_pack(self, request: Request, path: Path, app: str, deployed: bool) -> None:
        encoding, content = take_body(request)
        begin(request, f"application/x-{UPLOAD}-result")
        outlet = Outlet(self._reactor, request, self.limits.stall_seconds)

        def work() -> None:
            limit = self.limits.request_bytes
            with content:
                body = read_limited(plain_body(content, encoding, limit), limit)
            upload_pack(path, body, deployed, outlet.write)

        problem: GitProblem | None = None
        try:
            await self._in_thread(work)
        except GitProblem as refusal:
            problem = refusal
            self.log.info("Refused a fetch of {app}: {problem}", app=app, problem=str(problem))
        except ClientGone:
            raise
        except Exception:
            await outlet.end()
            if outlet.started:
                abort(request)
            raise
        await outlet.end()
        self._conclude(request, outlet, problem)

    def _conclude(self, request: Request, outlet: Outlet, problem: GitProblem | None) -> None:
        if problem is None:
            finish(request, b"")
        elif outlet.started:
            abort(request)
        elif isinstance(problem, NotOurs):
            finish(request, pktlines.line(b"ERR " + str(problem).encode()))
        else:
            raise Answer(http.BAD_REQUEST, str(problem))

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._threadpool, work)


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
