"""Pushes over HTTP: one at a time for each app, checked and stored by a worker; then the hub says what follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from uuid import uuid4

from attrs import define, frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from twisted.web import http
from twisted.web.server import Request

from deployd.errors import Busy, DeploydError
from deployd.git import pktlines
from deployd.git.problems import BadRequest
from deployd.git.receiving.receipt import Receipt
from deployd.git.receiving.reception import not_stored
from deployd.git.repositories import Repositories
from deployd.git.serving.advertising import RECEIVE
from deployd.git.web.answers import Answer, Body, begin, finish
from deployd.git.web.streaming import ClientGone
from deployd.git.web.voice import Voice
from deployd.git.work.messages import Document
from deployd.git.work.orders import HEAVY, Order, Unfinished
from deployd.git.work.pool import Pool
from deployd.git.work.upkeep import Upkeep
from deployd.git.work.values import receipt_from_json, to_json
from deployd.model.policy import Policy

Follow = Callable[[Voice], Awaitable[None]]


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

    async def cut_off(self, app: str, intent: str) -> None:
        """A push to ``app``, which may ask for a deploy with that id, ended without a word; raises nothing."""
        ...


@define(eq=False)
class _Pusher:
    """Who pushes: hears of the push's progress, if its git shows such, from when the worker knows that it does."""

    reactor: Any
    request: Request
    stall: float
    voice: Voice | None = None

    def note(self, note: Document) -> None:
        """``talks``: it can be told something; ``progress``: what."""
        if note.get("talks") and self.voice is None and self.request.channel is not None:
            begin(self.request, f"application/x-{RECEIVE}-result")
            self.voice = Voice(self.reactor, self.request, Receipt(b"", talks=True), self.stall)
        if self.voice is not None and "progress" in note:
            self.voice.show(note["progress"])


class Intake:
    """Takes pushes; a push that has arrived whole is carried through, whatever becomes of its pusher.

    ``upkeep`` is told of each app whose refs have moved, and of what was broken off.
    """

    _log = Logger()

    def __init__(self, repositories: Repositories, host: Host, reactor: Any, pool: Pool, upkeep: Upkeep) -> None:
        self._repositories = repositories
        self._limits = repositories.limits
        self._host = host
        self._reactor = reactor
        self._pool = pool
        self._upkeep = upkeep
        self._pushing: dict[str, DeferredLock] = {}
        self._followers = 0

    async def receive(self, request: Request, app: str) -> Callable[[], Awaitable[None]] | None:
        """Take a push and answer it; what is returned goes on telling, and ends the answer."""
        pusher = _Pusher(self._reactor, request, self._limits.stall_seconds)
        receipt = await self._taken(request, app, pusher)
        told = await self._told(app, receipt) if receipt.updates else Told()
        lines, follow = list(told.lines), told.follow if receipt.talks else None
        if follow is not None and self._followers >= self._limits.followers:
            lines.append("deployd: too many pushes are being told of their deploys; this one goes on untold")
            follow = None
        if request.channel is None:
            raise ClientGone
        answer = b"".join(map(receipt.remark, lines)) + receipt.report
        if pusher.voice is None:
            begin(request, f"application/x-{RECEIVE}-result")
            if follow is None:
                finish(request, answer + receipt.end)
                return None
        request.write(answer)
        voice = pusher.voice or Voice(self._reactor, request, receipt, self._limits.stall_seconds)
        voice.receipt = receipt
        return lambda: self._follow(request, receipt, voice, follow)

    async def _told(self, app: str, receipt: Receipt) -> Told:
        # The refs have moved whatever happens now; the pusher must hear so.
        self._upkeep.pushed(app)
        try:
            return await self._host.pushed(app, receipt)
        except DeploydError as error:
            self._log.warn("The hub did not note a push to {app}: {error}", app=app, error=error)
        except Exception:
            self._log.failure("Telling the hub about a push to {app} failed.", app=app)
        return Told()

    async def _follow(self, request: Request, receipt: Receipt, voice: Voice, follow: Follow | None) -> None:
        self._followers += 1
        try:
            if follow is not None:
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

    async def _taken(self, request: Request, app: str, pusher: _Pusher) -> Receipt:
        """What became of a push; what prevented it is what its pusher reads, as git reads it."""
        try:
            return await self._receipt(request, app, pusher)
        except BadRequest as problem:
            self._log.info("Refused a push to {app}: {problem}", app=app, problem=str(problem))
            if pusher.voice is None:
                raise Answer(http.BAD_REQUEST, str(problem)) from problem
            sentence = str(problem)
        except Busy as problem:
            if pusher.voice is None:
                raise
            sentence = str(problem)
        except Unfinished as problem:
            self._log.warn("A push to {app} was not taken: {problem}", app=app, problem=str(problem))
            if self._repositories.exists(app):
                self._upkeep.broken_off(app)
            sentence = str(problem)
        except OSError as error:
            self._log.warn("Could not store a push to {app}: {error}", app=app, error=error)
            sentence = not_stored(error)
        report = pktlines.sideband(pktlines.SIDEBAND_ERROR, sentence.encode())
        return Receipt(report + (b"" if pusher.voice else pktlines.FLUSH), talks=pusher.voice is not None)

    async def _receipt(self, request: Request, app: str, pusher: _Pusher) -> Receipt:
        lock = self._pushing.get(app) or DeferredLock()
        if len(lock.waiting) >= self._limits.pushes_waiting:
            raise Busy(f"too many pushes to {app} are waiting; try again in a moment")
        with Body(request) as body:
            self._pushing[app] = lock
            await lock.acquire()
            try:
                return await self._carried_out(app, body, pusher)
            finally:
                lock.release()
                if not lock.locked and self._pushing.get(app) is lock:
                    del self._pushing[app]

    async def _carried_out(self, app: str, body: Body, pusher: _Pusher) -> Receipt:
        intent = uuid4().hex
        try:
            answer = await self._pool.run(self._order(app, body, intent), pusher.note)
        except Exception:
            # Its refs may have moved; the next push, which may move them again, waits.
            await self._host.cut_off(app, intent)
            raise
        return receipt_from_json(answer.document, answer.body)

    def _order(self, app: str, body: Body, intent: str) -> Order:
        return Order(
            name="receive",
            arguments={
                "app": app,
                "repository": str(self._repositories.path(app)),
                "root": str(self._repositories.root),
                "policy": to_json(self._host.policy(app)),
                "encoding": body.encoding,
                "intent": intent,
                "limits": to_json(self._limits),
            },
            body=body.content,
            file=body.file,
            repository=str(self._repositories.path(app)),
            lane=HEAVY,
            kind="push",
            seconds=self._limits.push_seconds,
        )
