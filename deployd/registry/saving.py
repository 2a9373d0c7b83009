"""From what the book decides to what everybody may know: through the store.

Note [One save at a time]
~~~~~~~~~~~~~~~~~~~~~~~~~
What is decided is saved at once if nothing is being saved, else together with all else that is decided meanwhile: the
busier the registry, the more changes share one wait for the disk. A disk that is quicker than all who write would leave
few to share it, and a save costs as much as ten registrations: so after one of several calls the next waits for half a
millisecond, unless it is large already. Only once a save is through are its changes in the table that readers see, in
the history, and acknowledged, in this order. One that fails takes all with it that was decided after it, as that was
decided on top of it (Note [The draft is ahead of the table]).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import Busy, DeploydError, Superseded
from deployd.interfaces import RegistryStore
from deployd.model.row_change import RowChange
from deployd.registry.book import Transaction

# So many changes may wait for the next save before more are refused.
MAX_QUEUED = 20_000
# A save of so many calls is one of many; fewer changes than these wait for others, so many seconds.
CROWD = 4
PLENTY = 500
GATHERING = 0.0005
# For so many seconds a save that failed says how things are.
REMEMBERED = 60.0
# A save that takes so many seconds is trouble.
SLOW = 5.0


@define(eq=False)
class _Batch:
    """What goes to the disk together; who waits for it, each with its owner, in the order of their calls."""

    changes: list[RowChange] = field(factory=list)
    waiting: list[tuple[Transaction, str, Deferred[Transaction]]] = field(factory=list)


@define
class SavingFigures:
    """Saves that are through, and how long they took, in seconds."""

    saves: int = 0
    seconds: float = 0.0
    last_seconds: float = 0.0


class Saving:
    """Brings transactions to the disk (Note [One save at a time]).

    ``settle`` is called with changes that are saved. If some cannot be, ``undo`` is called with the owners who wait,
    and says whom that concerns; once those who wait have heard of it, ``drop`` is called with these and why.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: RegistryStore,
        settle: Callable[[Sequence[RowChange]], None],
        undo: Callable[[list[str]], list[str]],
        drop: Callable[[list[str], DeploydError], None],
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self.figures = SavingFigures()
        self._clock = clock
        self._store = store
        self._settle = settle
        self._undo = undo
        self._drop = drop
        self._max_queued = max_queued
        self._queue = _Batch()
        self._under_way: _Batch | None = None
        self._since = 0.0
        self._trouble = ""
        self._trouble_since = 0.0
        self._ended: DeploydError | None = None
        self._idle: list[Deferred[None]] = []
        self._gathering: IDelayedCall | None = None

    @property
    def trouble(self) -> str:
        """Why the last save was not through; "" once one was, or if nobody has tried for a while."""
        now = self._clock.seconds()
        if self._under_way is not None and now - self._since >= SLOW:
            return f"the registry's disk has not answered for {now - self._since:.0f} seconds"
        return self._trouble if now - self._trouble_since < REMEMBERED else ""

    @property
    def queued(self) -> int:
        """How many changes wait for the next save."""
        return len(self._queue.changes)

    def check(self) -> None:
        """Raise Busy if nothing may be decided now."""
        if self._ended is not None:
            raise Busy(f"the registry ends: {self._ended}")
        if len(self._queue.changes) >= self._max_queued or len(self._queue.waiting) >= self._max_queued:
            raise Busy("too many changes wait for the registry's disk; try again in a moment")

    def take(self, done: Transaction, owner: str = "") -> Deferred[Transaction]:
        """Fires with ``done`` once it is on the disk, and all that was decided before; fails with Busy.

        ``owner`` is who waits for it.
        """
        if self._ended is not None:
            return fail(Busy(f"the registry ends: {self._ended}"))
        batch = self._queue
        if not done.changes and not batch.changes:
            # It changes nothing, so it stands as soon as what it was judged by does.
            if self._under_way is None:
                return succeed(done)
            batch = self._under_way
        batch.changes.extend(done.changes)
        waiter: Deferred[Transaction] = Deferred()
        batch.waiting.append((done, owner, waiter))
        self._watch(self._begin())
        return waiter

    def end(self) -> Deferred[None]:
        """Take nothing more; fires once everything is saved."""
        self._ended = self._ended or Busy("it was told to")
        if self._gathering is not None:
            self._gathering.cancel()
            self._go_on()
        return self.when_idle()

    def when_idle(self) -> Deferred[None]:
        """Fires once everything is saved, or is not going to be."""
        if self._under_way is None and self._gathering is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._idle.append(waiter)
        return waiter

    def _begin(self) -> Deferred[None] | None:
        """Start the next save if there is something to save, none is under way and nothing more is waited for."""
        if self._under_way is not None or self._gathering is not None or not self._queue.changes:
            return None
        self._under_way, self._queue = self._queue, _Batch()
        self._since = self._clock.seconds()
        return self._store.save(self._under_way.changes)

    def _watch(self, saving: Deferred[None] | None) -> None:
        if saving is not None:
            saving.addCallbacks(self._through, self._failed)
            saving.addErrback(lambda failure: self._log.failure("after a save", failure=failure))

    def _through(self, _: None) -> None:
        batch, self._under_way = self._under_way, None
        assert batch is not None
        figures = self.figures
        figures.last_seconds = self._clock.seconds() - self._since
        figures.saves, figures.seconds = figures.saves + 1, figures.seconds + figures.last_seconds
        self._trouble = ""
        if len(batch.waiting) >= CROWD and 0 < len(self._queue.changes) < PLENTY and self._ended is None:
            # Those who are answered now have more to write: let it come.
            self._gathering = self._clock.callLater(GATHERING, self._go_on)
        # The disk goes on at once; what comes of it is looked at after this batch.
        following = self._begin()
        try:
            self._settle(batch.changes)
        finally:
            for done, _owner, waiter in batch.waiting:
                waiter.callback(done)
            self._watch(following)
            self._tell_idle()

    def _go_on(self) -> None:
        self._gathering = None
        self._watch(self._begin())

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, Busy | Superseded):
            self._log.failure("while saving changes of the table", failure=failure)
            error = Busy("the registry cannot save what changes")
        else:
            self._log.error("cannot save changes of the table: {error}", error=error)
        if isinstance(error, Superseded):
            self._ended = error
        self._trouble, self._trouble_since = str(error), self._clock.seconds()
        batch, queue = self._under_way, self._queue
        assert batch is not None
        self._under_way, self._queue = None, _Batch()
        waiting = batch.waiting + queue.waiting
        concerned = self._undo([owner for _, owner, _ in waiting if owner])
        for _done, _owner, waiter in waiting:
            waiter.errback(Busy(str(error)))
        self._drop(concerned, error)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._under_way is None and self._gathering is None:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)
