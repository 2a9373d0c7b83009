"""One worker of a crew, and the errand that it is on."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd.git.work import faults
from deployd.git.work.allotting import Post
from deployd.git.work.life import Machine
from deployd.git.work.messages import Document, TooLong
from deployd.git.work.orders import Answer, Note, Order, Unfinished
from deployd.git.work.spawning import Link, Spawn

# Seconds until a process that should be ready, or should have ended, is killed.
START, END = 30.0, 5.0
_REPOSITORIES = 8


@define(eq=False)
class Errand:
    """An order under way. ``answered`` fires once, with an Answer or why there is none; then nobody waits any more."""

    order: Order
    answered: Deferred[Answer]
    note: Note | None
    tried: bool = field(init=False, default=False)
    heard: bool = field(init=False, default=False)
    expiry: IDelayedCall | None = field(init=False, default=None)
    waited_for: bool = field(init=False, default=True)

    def end(self, outcome: Answer | Exception) -> None:
        """Tell who waits, if anybody does."""
        self.forget_expiry()
        waited_for, self.waited_for = self.waited_for, False
        if not waited_for:
            return
        if isinstance(outcome, Exception):
            self.answered.errback(outcome)
        else:
            self.answered.callback(outcome)

    def forget_expiry(self) -> None:
        """It has waited no longer than it may."""
        if self.expiry is not None and self.expiry.active():
            self.expiry.cancel()
        self.expiry = None

    @property
    def may_be_repeated(self) -> bool:
        """Whether another worker may have it, after the first one died."""
        return self.waited_for and self.order.again and not self.tried and not self.heard


class Crew(Protocol):
    """Where a worker belongs."""

    def rests(self, member: Member) -> None:
        """It has nothing to do."""

    def left(self, member: Member, errand: Errand | None) -> None:
        """It is gone, in the middle of ``errand``."""


class Member:
    """A worker process and what is known of it; its life is a machine (deployd.git.work.life)."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, spawn: Spawn, nice: int, idle: float | None, crew: Crew) -> None:
        self.state = "starting"
        self.jobs = self.memory = 0
        self.expected = False
        self.end = ""
        self._clock = clock
        self._idle = idle
        self._crew = crew
        self._errand: Errand | None = None
        self._repositories: deque[str] = deque(maxlen=_REPOSITORIES)
        self._since = clock.seconds()
        self._deadline: IDelayedCall | None = None
        self._machine = Machine(self)
        self._link: Link = spawn(self, nice)
        self._watch(START, "did not start in time")

    @property
    def post(self) -> Post:
        """What the decision about the next job knows of it."""
        doing = {"finishing": "busy", "retiring": "leaving", "killed": "leaving"}.get(self.state, self.state)
        kind = self._errand.order.kind if self._errand else ""
        return Post(doing, kind, tuple(self._repositories), self._since)

    def take(self, errand: Errand) -> None:
        """Begin ``errand``; only one that is idle may be given one."""
        errand.forget_expiry()
        self._errand = errand
        self._machine.begin()

    def retire(self) -> None:
        """End when nothing is left to do."""
        self.expected = True
        self._machine.retire()

    def kill(self, why: str) -> None:
        """End at once; whoever waits for its job is told ``why``."""
        errand = self._errand
        if self.state not in ("killed", "gone"):
            self._log.warn("Killing a git worker: it {why}.", why=why)
            self.expected = True
            self._machine.kill()
        if errand is not None:
            errand.end(Unfinished(f"a git worker {why}; try again"))

    def drop(self, errand: Errand, patience: float) -> None:
        """Nobody waits for ``errand`` any more: it has ``patience`` seconds to end by itself."""
        if self._errand is errand:
            self._watch(min(patience, errand.order.seconds), "does what nobody waits for")

    def is_on(self, errand: Errand) -> bool:
        """Whether it does that."""
        return self._errand is errand

    # What its process tells.

    def said(self, document: Document, body: bytes) -> None:
        """It sent a message."""
        if "ready" in document:
            self._machine.ready()
        elif "note" in document:
            self._noted(document["note"])
        else:
            self._concluded(document, body)

    def ended(self, how: str) -> None:
        """Its process is gone."""
        self.end = how
        self._machine.exited()

    def _noted(self, note: Document) -> None:
        errand = self._errand
        if errand is not None and errand.waited_for and errand.note is not None:
            errand.heard = True
            errand.note(note)

    def _concluded(self, document: Document, body: bytes) -> None:
        errand, self._errand = self._errand, None
        self.jobs += 1
        self.memory = document["memory"]
        self._since = self._clock.seconds()
        problem = document.get("problem")
        if problem and problem["kind"] == faults.MEMORY:
            self.retire()
        elif problem and not problem["kind"]:
            self._log.error("A job of git failed: {text}", text=problem["text"])
        self._machine.done()
        if errand is not None:
            errand.end(faults.read(problem) if problem else Answer(document["answer"], body))

    # What its machine makes it do.

    def enter(self, state: str) -> None:
        self.state = state
        self._forget_deadline()

    def offer(self) -> None:
        self._crew.rests(self)
        if self.state == "idle" and self._idle is not None:
            self._deadline = self._clock.callLater(self._idle, self.retire)

    def send(self) -> None:
        assert self._errand is not None
        order = self._errand.order
        self._repositories.append(order.repository)
        self._watch(order.seconds, f"took longer than {order.seconds:g} seconds")
        try:
            self._link.send({"job": order.name, "arguments": order.arguments}, order.body, order.file)
        except (OSError, TooLong) as error:
            self._clock.callLater(0, self.kill, f"could not be told what to do ({error})")

    def hang_up(self) -> None:
        self._watch(END, "did not end in time")
        self._link.hang_up()

    def destroy(self) -> None:
        self._link.kill()

    def leave(self) -> None:
        errand, self._errand = self._errand, None
        self._crew.left(self, errand)

    def _watch(self, seconds: float, why: str) -> None:
        self._forget_deadline()
        self._deadline = self._clock.callLater(seconds, self.kill, why)

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
