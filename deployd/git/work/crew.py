"""The workers of one lane, and the errands that wait for them.

A worker is started when there is something for it to do; one that died by itself is followed by another after a while,
longer each time, until a job comes to its end. Who nobody waits for any more holds no worker.
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd.errors import Busy
from deployd.git.work.allotting import Wish, allot
from deployd.git.work.member import Errand, Member
from deployd.git.work.orders import Answer, Note, Order, Unfinished
from deployd.git.work.spawning import Spawn

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
# Seconds that a job has to end by itself once nobody waits for it: cheaper than another process.
ABANDONED = 1.0
_BUSY = "too much is to be done for git; try again in a moment"
_STOPPING = "git's workers are stopping; try again in a moment"


@frozen(kw_only=True)
class Terms:
    """``workers``: how many at most; ``waiting``: how many errands may wait, and for ``patience`` seconds each.

    ``jobs`` and ``memory`` (bytes of its own): a worker that has done, or has kept, as much is replaced. ``idle``: one
    that has had nothing to do for so many seconds ends, None: it stays.
    """

    workers: int
    waiting: int
    patience: float = 60.0
    nice: int = 0
    jobs: int = 1000
    memory: int = 256 << 20
    idle: float | None = None


class Crew:
    """The errands of one lane are done in the order in which they come (deployd.git.work.allotting)."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, spawn: Spawn, terms: Terms) -> None:
        self.restarts = 0
        self._clock = clock
        self._spawn = spawn
        self._terms = terms
        self._members: list[Member] = []
        self._waiting: list[Errand] = []
        self._closing = False
        self._ended: list[Deferred[None]] = []
        self._delay = FIRST_DELAY
        self._pause: IDelayedCall | None = None

    @property
    def busy(self) -> int:
        """How many jobs are being done."""
        return sum(member.post.doing == "busy" for member in self._members)

    @property
    def waiting(self) -> int:
        """How many errands wait for a worker."""
        return len(self._waiting)

    @property
    def workers(self) -> int:
        """How many processes there are."""
        return len(self._members)

    def run(self, order: Order, note: Note | None) -> Deferred[Answer]:
        """Have it done; the answer may be cancelled."""
        errand = Errand(order, Deferred(lambda _: self._abandon(errand)), note)
        if self._closing:
            errand.end(Busy(_STOPPING))
        elif len(self._waiting) >= self._terms.waiting:
            self._log.debug("{jobs} jobs of git are being done and {more} wait.", jobs=self.busy, more=self.waiting)
            errand.end(Busy(_BUSY))
        else:
            self._waiting.append(errand)
            errand.expiry = self._clock.callLater(self._terms.patience, self._expire, errand)
            self._allot()
        return errand.answered

    def warm(self) -> None:
        """Have a worker ready, since something for it may come soon."""
        if not self._members and not self._closing and self._pause is None:
            self._add()

    def close(self) -> None:
        """Begin nothing any more; let the workers end when they have done what they do."""
        self._closing = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        waiting, self._waiting = self._waiting, []
        for errand in waiting:
            errand.end(Busy(_STOPPING))
        for member in list(self._members):
            member.retire()

    def kill(self) -> None:
        """Let no worker do anything more; after ``close``."""
        for member in list(self._members):
            member.kill("is not done, and the hub is stopping")

    def when_gone(self) -> Deferred[None]:
        """Fires when no process is left; after ``close``."""
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        self._settle()
        return ended

    # What its members tell.

    def rests(self, member: Member) -> None:
        """It is ready, or has done its job."""
        if member.jobs:
            self._delay = FIRST_DELAY
        if member.jobs >= self._terms.jobs or member.memory > self._terms.memory:
            member.retire()
        self._allot()

    def left(self, member: Member, errand: Errand | None) -> None:
        """Its process is gone."""
        self._members.remove(member)
        if not member.expected:
            self._log.error("A git worker ended by itself ({end}).", end=member.end)
            self._rest_a_while()
        if errand is not None and errand.may_be_repeated and not self._closing:
            errand.tried = True
            self._waiting.insert(0, errand)
            errand.expiry = self._clock.callLater(self._terms.patience, self._expire, errand)
        elif errand is not None:
            errand.end(Unfinished("a git worker ended in the middle of it; try again"))
        self._allot()
        self._settle()

    def _allot(self) -> None:
        if self._closing:
            return
        wishes = [Wish(errand.order.repository, errand.order.kind) for errand in self._waiting]
        members = list(self._members)
        allotment = allot(wishes, [member.post for member in members], self._terms.workers)
        given = [(self._waiting[wish], members[post]) for wish, post in allotment.given]
        for errand, _ in given:
            self._waiting.remove(errand)
        for errand, member in given:
            member.take(errand)
        for _ in range(allotment.start):
            if self._pause is None:
                self._add()

    def _add(self) -> None:
        try:
            self._members.append(Member(self._clock, self._spawn, self._terms.nice, self._terms.idle, self))
        except OSError as error:
            self._log.error("A git worker could not be started: {error}", error=error)
            self._rest_a_while()

    def _rest_a_while(self) -> None:
        self.restarts += 1
        if self._pause is None and not self._closing:
            self._pause = self._clock.callLater(self._delay, self._go_on)
            self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _go_on(self) -> None:
        self._pause = None
        self._allot()

    def _abandon(self, errand: Errand) -> None:
        errand.waited_for = False
        errand.forget_expiry()
        errand.answered.errback(CancelledError())
        if errand in self._waiting:
            self._waiting.remove(errand)
        for member in self._members:
            if member.is_on(errand):
                member.drop(errand, ABANDONED)

    def _expire(self, errand: Errand) -> None:
        self._waiting.remove(errand)
        errand.end(Busy(_BUSY))

    def _settle(self) -> None:
        if self._closing and not self._members:
            ended, self._ended = self._ended, []
            for one in ended:
                one.callback(None)
