"""Git over smart HTTP as a resource: who asks, for which app, for what; the work itself is done in threads.

The paths are ``/APP[.git]/info/refs?service=...``, ``/APP[.git]/git-upload-pack`` and ``/APP[.git]/git-receive-pack``;
APP may have slashes. Nothing about an app, not even whether there is one, is told before the credentials are right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.errors import DeploydError
from deployd.git import pktlines
from deployd.git.access import Access, Action
from deployd.git.bodies import plain_body, read_limited
from deployd.git.problems import BadRequest, GitProblem, NotOurs
from deployd.git.receiving import Receipt, RefUpdate, not_stored, receive
from deployd.git.repositories import Repositories
from deployd.git.serving import RECEIVE, UPLOAD, advertise, upload_pack
from deployd.git.streaming import ClientGone, Outlet, abort
from deployd.model.invalid import Invalid
from deployd.model.names import app_name

Pushed = Callable[[str, list[RefUpdate]], Awaitable[Sequence[str]]]
"""Told of the refs of an app that have moved; returns what the pusher should read."""

T = TypeVar("T")
_ADVERTISEMENT = "/info/refs"


@frozen
class Asked:
    """What a path asks for. ``service`` is "" for an advertisement, whose query names it."""

    app: str
    service: str


class Answer(Exception):
    """Ends a request with ``code`` and a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class GitResource(Resource):
    """Serves every app's repository. Mount it as the fallback of a site's root: it reads the request's whole path."""

    isLeaf = True
    log = Logger()

    def __init__(
        self, *, repositories: Repositories, access: Access, reactor: Any, threadpool: ThreadPool, pushed: Pushed
    ) -> None:
        super().__init__()
        self.limits = repositories.limits
        self._repositories = repositories
        self._access = access
        self._reactor = reactor
        self._threadpool = threadpool
        self._pushed = pushed
        self._pushing: dict[str, DeferredLock] = {}
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
        try:
            if self._requests > self.limits.requests:
                raise Answer(http.SERVICE_UNAVAILABLE, "the hub has too many git requests at once; try again")
            await self._dispatch(request)
        except Answer as answer:
            self._refuse(request, answer, bool(gone))
        except ClientGone:
            self.log.debug("A git client left early.")
        except Exception:
            self.log.failure("A git request failed.")
            self._refuse(request, Answer(http.INTERNAL_SERVER_ERROR, "the hub failed; its log says more"), bool(gone))
        finally:
            self._requests -= 1

    async def _dispatch(self, request: Request) -> None:
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
        else:
            if request.getHeader(b"Content-Type") != f"application/x-{service}-request".encode():
                raise Answer(http.UNSUPPORTED_MEDIA_TYPE, f"the content type must be application/x-{service}-request")
            if service == UPLOAD:
                await self._upload(request, asked.app, deployed)
            else:
                await self._receive(request, asked.app)

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
        self._begin(request, f"application/x-{service}-advertisement")
        self._finish(request, body)

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
        encoding, content = _take_body(request)
        self._begin(request, f"application/x-{UPLOAD}-result")
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
            self._finish(request, b"")
        elif outlet.started:
            abort(request)
        elif isinstance(problem, NotOurs):
            self._finish(request, pktlines.line(b"ERR " + str(problem).encode()))
        else:
            raise Answer(http.BAD_REQUEST, str(problem))

    async def _receive(self, request: Request, app: str) -> None:
        try:
            receipt = await self._receipt(request, app)
        except OSError as error:
            self.log.warn("Could not store a push to {app}: {error}", app=app, error=error)
            report = pktlines.sideband(pktlines.SIDEBAND_ERROR, not_stored(error).encode())
            receipt = Receipt(report + pktlines.FLUSH)
        remarks: Sequence[str] = ()
        if receipt.updates:
            # The refs have moved whatever happens now; the pusher must hear so.
            try:
                remarks = await self._pushed(app, receipt.updates)
            except DeploydError as error:
                self.log.warn("The hub did not note a push to {app}: {error}", app=app, error=error)
            except Exception:
                self.log.failure("Telling the hub about a push to {app} failed.", app=app)
        self._begin(request, f"application/x-{RECEIVE}-result")
        self._finish(request, receipt.answer(remarks))

    async def _receipt(self, request: Request, app: str) -> Receipt:
        lock = self._pushing.get(app) or DeferredLock()
        if len(lock.waiting) >= self.limits.pushes_waiting:
            raise Answer(http.SERVICE_UNAVAILABLE, f"too many pushes to {app} are waiting; try again in a moment")
        encoding, content = _take_body(request)
        self._pushing[app] = lock
        await lock.acquire()
        try:
            with content:
                return await self._in_thread(lambda: self._take(app, content, encoding))
        except BadRequest as problem:
            self.log.info("Refused a push to {app}: {problem}", app=app, problem=str(problem))
            raise Answer(http.BAD_REQUEST, str(problem)) from problem
        finally:
            lock.release()
            if not lock.locked and self._pushing.get(app) is lock:
                del self._pushing[app]

    def _take(self, app: str, content: Any, encoding: bytes) -> Receipt:
        body = plain_body(content, encoding, self.limits.pack_bytes)
        created = self._repositories.create(app)
        receipt = Receipt(b"")
        try:
            receipt = receive(self._repositories.path(app), body, self.limits)
        finally:
            if created and not receipt.updates:
                self._repositories.discard_empty(app)
        return receipt

    async def _in_thread(self, work: Callable[[], T]) -> T:
        result: T = await deferToThreadPool(self._reactor, self._threadpool, work)
        return result

    def _begin(self, request: Request, content_type: str) -> None:
        request.setHeader(b"Content-Type", content_type.encode())
        request.setHeader(b"Cache-Control", b"no-cache, max-age=0, must-revalidate")
        request.setHeader(b"Pragma", b"no-cache")

    def _finish(self, request: Request, body: bytes) -> None:
        if request.channel is None:
            raise ClientGone
        request.write(body)
        request.finish()

    def _refuse(self, request: Request, answer: Answer, gone: bool) -> None:
        if gone or request.startedWriting or request.finished:
            return
        body = str(answer).encode() + b"\n"
        request.setResponseCode(answer.code)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(b"" if request.method == b"HEAD" else body)
        request.finish()


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


def _take_body(request: Request) -> tuple[bytes, Any]:
    """(content encoding, body): from now on the thread's to close, since a lost connection closes the request's own.

    Raise OSError when there was no place for the body.
    """
    not_kept: OSError | None = getattr(request, "not_kept", None)
    if not_kept is not None:
        raise not_kept
    content, request.content = request.content, None
    return (request.getHeader(b"Content-Encoding") or b"").lower(), content
