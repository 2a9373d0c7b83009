"""What an owner wants of the registry and what the registry has acknowledged; no connection, no clock.

Note [Whole state, few updates in flight]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The owner keeps all rows that it wants. Each reconnect publishes those that were acknowledged before, together, and
whatever changed since goes in updates, which carry the newest state of each row. Several may be in flight, never two
with the same row: what changes several times while an update with it is on the way is sent once. A change that the
registry refuses takes nothing else down: a refused update goes again one change at a time, and the change refused
alone is undone and those who wait for it are told. Rows that the registry once had and refuses after a reconnect (it
forgot them, and somebody else was quicker) stay wanted.

Note [Where an owner stands]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Each answer says at which revision the owner's rows last changed (``stands``). A registry that says the same when the
owner is back has exactly the rows that the owner knows, and publishing them again would tell it nothing: confirming is
enough. An update whose answer was lost has changed something, then the registry stands later than the owner knows, or
it has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.errors import Busy, DeploydError, Refused
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.wire.paging import PAGE_BYTES
from deployd.wire.row_text import row_text, rows_text

MAX_ROWS = 10_000
MAX_WAITING = 20_000
MAX_FREES = 300


@frozen(eq=False)
class Batch:
    """One update: what to put (``texts``: as JSON) and free; ``sequence`` is the newest change that it covers."""

    put: tuple[Registration, ...]
    free: tuple[str, ...]
    sequence: int
    texts: tuple[bytes, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return (*(row.id for row in self.put), *self.free)

    @property
    def text(self) -> bytes:
        """The rows to put, as JSON."""
        return rows_text(self.texts)


class _Waiter(Deferred[Revision]):
    """What someone waits for: the change of the row with this number; ``is_put`` says which kind it was.

    The Deferred itself, since there may be thousands, and each object makes collecting garbage slower.
    """

    def __init__(
        self, row_id: str, sequence: int, is_put: bool, given_up: Callable[[Deferred[Revision]], None]
    ) -> None:
        super().__init__(given_up)
        self.row_id, self.sequence, self.is_put = row_id, sequence, is_put


class Pending:
    """The rows wanted, those acknowledged, the ids that differ, and who waits for which.

    ``stands`` is where the registry stood with ``acknowledged``; None while that is not known.
    """

    def __init__(self) -> None:
        self.wanted: dict[str, Registration] = {}
        self.acknowledged: dict[str, Registration] = {}
        self.stands: Revision | None = None
        self._changed: dict[str, None] = {}
        self._waiting: dict[str, list[_Waiter]] = {}
        self._waiters = 0
        self._sequence = 0
        # Ids in updates on the way.
        self._in_flight: set[str] = set()
        # Ids of updates that were refused: each goes alone until it is settled.
        self._alone: set[str] = set()
        # Wanted rows that the registry has had.
        self._standing: set[str] = set()
        self._live = False

    # What the owner asks.

    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]:
        """Want ``row``; fires once it is acknowledged. Raise Busy, Refused.

        ``standing``: an earlier life of the owner has registered it, so the first session must not take it away.
        """
        if row.id not in self.wanted and len(self.wanted) >= MAX_ROWS:
            raise Refused(f"more than {MAX_ROWS} rows cannot be registered")
        done = self._wait(row.id, is_put=True)
        self.wanted[row.id] = row
        if standing and not self._live and row.id not in self.acknowledged:
            self.acknowledged[row.id] = row
            # The registry did not say this.
            self.stands = None
        return done

    def free(self, row_id: str) -> Deferred[Revision]:
        """Want no such row; fires once that is acknowledged. Raise Busy."""
        done = self._wait(row_id, is_put=False)
        self.wanted.pop(row_id, None)
        self._standing.discard(row_id)
        return done

    # What its session does.

    def kept(self) -> list[Registration]:
        """What a new session publishes: the wanted rows as they were acknowledged."""
        return [row for row_id, row in self.acknowledged.items() if row_id in self.wanted]

    def published(self, rows: Iterable[Registration], stands: Revision | None = None) -> None:
        """The registry has exactly ``rows``; what differs from them is to be sent."""
        self.acknowledged = {row.id: row for row in rows}
        self.stands = stands
        self._begin()

    def confirmed(self) -> None:
        """The registry has exactly what it has acknowledged."""
        self._begin()

    def lost(self) -> None:
        """There is no session; what changes from now on is found when the next one begins."""
        self._live = False
        self._changed.clear()
        self._in_flight.clear()

    def batch(self) -> Batch | None:
        """The next update, None when there is nothing to say now; its ids count as sent."""
        put: list[Registration] = []
        texts: list[bytes] = []
        free: list[str] = []
        taken: list[str] = []
        size = 0
        for row_id in self._changed:
            if row_id in self._in_flight:
                continue
            alone = row_id in self._alone
            if taken and (alone or len(free) >= MAX_FREES):
                break
            row = self.wanted.get(row_id)
            if row is None:
                free.append(row_id)
            else:
                text = row_text(row)
                size += len(text) + 1
                if taken and size > PAGE_BYTES:
                    break
                put.append(row)
                texts.append(text)
            taken.append(row_id)
            if alone:
                break
        for row_id in taken:
            del self._changed[row_id]
        self._in_flight.update(taken)
        return Batch(tuple(put), tuple(free), self._sequence, tuple(texts)) if taken else None

    def accepted(self, batch: Batch, revision: Revision, stands: Revision | None = None) -> None:
        """The registry has done all of ``batch``."""
        self.stands = stands
        self._settle(batch)
        self._alone.difference_update(batch.ids)
        for row in batch.put:
            self.acknowledged[row.id] = row
            if row.id in self.wanted:
                self._standing.add(row.id)
        for row_id in batch.free:
            self.acknowledged.pop(row_id, None)
        for waiter in self._take(batch):
            if not waiter.called:
                waiter.callback(revision)

    def refused(self, batch: Batch, error: DeploydError) -> bool:
        """The registry did nothing of ``batch``; True when it was a single change, which is undone and given up."""
        self._settle(batch)
        self._alone.update(batch.ids)
        if len(batch.ids) > 1:
            # In front, so that a change made meanwhile does not go out before an older one of other rows.
            self._changed = dict.fromkeys(batch.ids) | self._changed
            return False
        (row_id,) = batch.ids
        self._alone.discard(row_id)
        if row_id not in self._changed:
            self._undo(row_id)
        for waiter in self._take(batch):
            if not waiter.called:
                waiter.errback(type(error)(str(error)))
        return True

    def cancel_all(self) -> None:
        """Nobody will answer those who wait."""
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            waiter.cancel()

    # The rest.

    def _begin(self) -> None:
        """A session is up: what differs from what the registry has acknowledged is to be sent."""
        different = [row_id for row_id, row in self.wanted.items() if self.acknowledged.get(row_id) != row]
        gone = [row_id for row_id in self.acknowledged if row_id not in self.wanted]
        self._changed = dict.fromkeys([*different, *gone, *self._waiting])
        self._in_flight.clear()
        self._alone.clear()
        self._live = True

    def _settle(self, batch: Batch) -> None:
        self._in_flight.difference_update(batch.ids)

    def _undo(self, row_id: str) -> None:
        before = self.acknowledged.get(row_id)
        if before is not None:
            self.wanted[row_id] = before
        elif row_id not in self._standing:
            self.wanted.pop(row_id, None)

    def _wait(self, row_id: str, is_put: bool) -> Deferred[Revision]:
        if self._waiters >= MAX_WAITING:
            raise Busy("too many changes wait for the registry")
        self._outdo(row_id, is_put)
        self._sequence += 1
        waiter = _Waiter(row_id, self._sequence, is_put, self._forget)
        self._waiting.setdefault(row_id, []).append(waiter)
        self._waiters += 1
        if self._live:
            self._changed[row_id] = None
        return waiter

    def _outdo(self, row_id: str, is_put: bool) -> None:
        """Tell those who wait for the opposite that it will not come to pass."""
        waiting = self._waiting.get(row_id)
        if not waiting:
            return
        for waiter in [waiter for waiter in waiting if waiter.is_put != is_put]:
            self._forget(waiter)
            done = "freed before it was registered" if waiter.is_put else "registered again before it was freed"
            waiter.errback(Refused(f"{row_id} was {done}"))

    def _take(self, batch: Batch) -> list[_Waiter]:
        """Those whom ``batch`` answers; they wait no longer."""
        ready: list[_Waiter] = []
        for row_id in batch.ids:
            waiting = self._waiting.pop(row_id, None)
            if waiting is None:
                continue
            later = [waiter for waiter in waiting if waiter.sequence > batch.sequence]
            if later:
                self._waiting[row_id] = later
                waiting = [waiter for waiter in waiting if waiter.sequence <= batch.sequence]
            self._waiters -= len(waiting)
            ready += waiting
        return ready

    def _forget(self, waiter: Any) -> None:
        waiting = self._waiting.get(waiter.row_id)
        if waiting is None or waiter not in waiting:
            return
        waiting.remove(waiter)
        self._waiters -= 1
        if not waiting:
            del self._waiting[waiter.row_id]
