"""Pushes over HTTP: one at a time for each app, checked and stored in threads; then the hub says what follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.web import http
from twisted.web.server import Request

from deployd.errors import DeploydError
from deployd.git import pktlines
from deployd.git.problems import BadRequest
from deployd.git.receiving.reception import Receipt, not_stored, receive
from deployd.git.receiving.rules import PushRules
from deployd.git.repositories import Repositories
from deployd.git.serving.upload import RECEIVE
from deployd.git.web.answers import Answer, begin, finish, take_body
from deployd.git.bodies import plain_body
from deployd.git.web.streaming import ClientGone
from deployd.git.web.voice import Voice
from deployd.model.policy import Policy

Follow = Callable[[Voice], Awaitable[None]]
InThread = Callable[[Callable[[], Any]], Deferred[Any]]


@frozen
class Told:
    """What a pusher should read: ``lines`` at once, and what ``follow`` has to say after the report.

    ``follow`` only tells: when it runs, everything that it tells of is saved and goes on without it.
    """

    lines: Sequence[str] = ()
    follow: Follow | None = None


class Host(Protocol):
    """Whose repositories these are; asked in the reactor thread."""

    def policy(self, app: str) -> Policy:
        """What the owner of ``app``, which need not exist, has decided about it."""
        ...

    async def pushed(self, app: str, receipt: Receipt) -> Told:
        """Refs of ``app`` have moved, which nothing can undo."""
        ...


class Intake:
    """Takes pushes; ``in_thread`` calls a function in one of git's threads."""

    _log = Logger()

    def __init__(self, repositories: Repositories, host: Host, reactor: Any, in_thread: InThread) -> None:
        self._repositories = repositories
        self._limits = repositories.limits
        self._host = host
        self._reactor = reactor
        self._in_thread = in_thread
        self._pushing: dict[str, DeferredLock] = {}
        self._followers = 0

    async def receive(self, request: Request, app: str) -> Callable[[], Awaitable[None]] | None:
        """Take a push and answer it; what is returned goes on telling, and ends the answer."""
        try:
            receipt = await self._receipt(request, app)
        except OSError as error:
            self._log.warn("Could not store a push to {app}: {error}", app=app, error=error)
            report = pktlines.sideband(pktlines.SIDEBAND_ERROR, not_stored(error).encode())
            receipt = Receipt(report + pktlines.FLUSH)
        told = await self._told(app, receipt) if receipt.updates else Told()
        lines, follow = list(told.lines), told.follow if receipt.talks else None
        if follow is not None and self._followers >= self._limits.followers:
            lines.append("deployd: too many pushes are being told of their deploys; this one goes on untold")
            follow = None
        begin(request, f"application/x-{RECEIVE}-result")
        answer = b"".join(map(receipt.remark, lines)) + receipt.report
        if follow is None:
            finish(request, answer + receipt.end)
            return None
        if request.channel is None:
            raise ClientGone
        request.write(answer)
        following = follow
        return lambda: self._follow(request, receipt, following)

    async def _told(self, app: str, receipt: Receipt) -> Told:
        # The refs have moved whatever happens now; the pusher must hear so.
        try:
            return await self._host.pushed(app, receipt)
        except DeploydError as error:
            self._log.warn("The hub did not note a push to {app}: {error}", app=app, error=error)
        except Exception:
            self._log.failure("Telling the hub about a push to {app} failed.", app=app)
        return Told()

    async def _follow(self, request: Request, receipt: Receipt, follow: Follow) -> None:
        voice = Voice(self._reactor, request, receipt, self._limits.stall_seconds)
        self._followers += 1
        try:
            await follow(voice)
        except DeploydError as error:
            voice.say(f"deployd: {error}")
        except Exception:
            self._log.failure("Telling a pusher what follows failed.")
            voice.say("deployd: the hub failed; its log says more")
        finally:
            self._followers -= 1
        await voice.end()
        if voice.gone:
            # The transport says so before the request knows.
            raise ClientGone
        finish(request, receipt.end)

    async def _receipt(self, request: Request, app: str) -> Receipt:
        lock = self._pushing.get(app) or DeferredLock()
        if len(lock.waiting) >= self._limits.pushes_waiting:
            raise Answer(http.SERVICE_UNAVAILABLE, f"too many pushes to {app} are waiting; try again in a moment")
        encoding, content = take_body(request)
        self._pushing[app] = lock
        await lock.acquire()
        try:
            rules = PushRules(app, self._host.policy(app))
            with content:
                receipt: Receipt = await self._in_thread(lambda: self._take(app, content, encoding, rules))
            return receipt
        except BadRequest as problem:
            self._log.info("Refused a push to {app}: {problem}", app=app, problem=str(problem))
            raise Answer(http.BAD_REQUEST, str(problem)) from problem
        finally:
            lock.release()
            if not lock.locked and self._pushing.get(app) is lock:
                del self._pushing[app]

    def _take(self, app: str, content: Any, encoding: bytes, rules: PushRules) -> Receipt:
        body = plain_body(content, encoding, self._limits.pack_bytes)
        created = self._repositories.create(app)
        receipt = Receipt(b"")
        try:
            receipt = receive(self._repositories.path(app), body, self._limits, rules)
        finally:
            if created and not receipt.updates:
                self._repositories.discard_empty(app)
        return receipt
