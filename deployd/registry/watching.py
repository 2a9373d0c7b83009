"""Those who sleep until rows that they want change: bounded, and woken by nothing else.

Note [Woken by and by]
~~~~~~~~~~~~~~~~~~~~~~
To answer a thousand takes a tenth of a second. What is written to them goes out when the reactor gets to it, so those
who are woken together are answered some in each of its turns: the first ones do not wait for the last ones, and neither
does anybody else.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter

MAX_WATCHERS = 6000
WATCHERS_PER_ADDRESS = 3000

# So many are answered in one turn.
TOGETHER = 32

# The namespace and the role that alone can be wanted, "" where several can.
Key = tuple[str, str]


@define(eq=False)
class _Group:
    """Who waits with the same filter."""

    wanted: RowFilter
    key: Key
    members: dict[object, _Wait] = field(factory=dict)


@define(eq=False)
class _Wait:
    group: _Group
    address: str
    timer: IDelayedCall
    done: Deferred[int | None] = field(factory=Deferred)


class Watchers:
    """Who sleeps until the next change, one wait each; ``what`` is how errors say what they do."""

    def __init__(
        self,
        clock: IReactorTime,
        limit: int = MAX_WATCHERS,
        per_address: int = WATCHERS_PER_ADDRESS,
        what: str = "sessions watch",
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._per_address = per_address
        self._what = what
        self._waits: dict[object, _Wait] = {}
        self._addresses: Counter[str] = Counter()
        self._groups: dict[RowFilter, _Group] = {}
        self._keys: dict[Key, dict[_Group, None]] = {}
        # Who is to be answered, and with what.
        self._woken: deque[tuple[_Wait, int]] = deque()
        self._waking: IDelayedCall | None = None
        # How many groups look at metadata.
        self._by_meta = 0

    @property
    def count(self) -> int:
        return len(self._waits)

    def wait(self, wanted: RowFilter, seconds: float, who: object, address: str) -> Deferred[int | None]:
        """Fires with the number before the first change of a row that ``wanted`` takes; with None after ``seconds``, or
        when ``who`` leaves. Raise Busy."""
        if who in self._waits:
            raise Busy("this session watches already; one watch at a time")
        if self.count >= self._limit:
            raise Busy(f"too many {self._what} already; try again in a moment")
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} {self._what} from your address already; try again in a moment")
        group = self._groups.get(wanted)
        if group is None:
            group = self._join(wanted)
        wait = _Wait(group, address, self._clock.callLater(seconds, self.leave, who))
        self._waits[who] = group.members[who] = wait
        self._addresses[address] += 1
        return wait.done

    def leave(self, who: object) -> None:
        """Let ``who`` wait no longer."""
        wait = self.drop(who)
        if wait is not None:
            wait.done.callback(None)

    def drop(self, who: object) -> _Wait | None:
        """As ``leave``, but what ``who`` waits for does not fire."""
        wait = self._waits.pop(who, None)
        if wait is None:
            return None
        if wait.timer.active():
            wait.timer.cancel()
        del wait.group.members[who]
        if not wait.group.members:
            self._part(wait.group)
        self._addresses[wait.address] -= 1
        if not self._addresses[wait.address]:
            del self._addresses[wait.address]
        return wait

    def changed(self, changes: Iterable[RowChange]) -> None:
        """Wake those who want to know of these."""
        if not self._waits:
            return
        woken: dict[_Group, int] = {}
        for change in self._kinds(changes):
            for group in self._candidates(change.row):
                if group not in woken and group.wanted.takes(change.row):
                    woken[group] = change.number - 1
        for group, number in woken.items():
            for who in list(group.members):
                wait = self.drop(who)
                if wait is not None:
                    self._woken.append((wait, number))
        if self._woken and self._waking is None:
            self._wake()

    def close(self) -> None:
        """Answer all: nothing more will come."""
        if self._waking is not None:
            self._waking.cancel()
        while self._woken:
            self._wake(len(self._woken))
        for who in list(self._waits):
            self.leave(who)

    def _wake(self, count: int = TOGETHER) -> None:
        """Note [Woken by and by]."""
        self._waking = None
        for _ in range(min(count, len(self._woken))):
            wait, number = self._woken.popleft()
            wait.done.callback(number)
        if self._woken and self._waking is None:
            self._waking = self._clock.callLater(0, self._wake)

    def _kinds(self, changes: Iterable[RowChange]) -> Iterable[RowChange]:
        """The first of each kind of rows: a thousand rows of one release are one kind, if nobody looks at metadata."""
        if self._by_meta:
            return changes
        kinds: dict[tuple[str, ...], RowChange] = {}
        for change in changes:
            row = change.row
            kinds.setdefault((row.namespace, row.app, row.release, row.role, row.version), change)
        return kinds.values()

    def _candidates(self, row: Registration) -> Iterator[_Group]:
        for namespace in (row.namespace, ""):
            for role in (row.role, ""):
                yield from self._keys.get((namespace, role), ())

    def _join(self, wanted: RowFilter) -> _Group:
        group = self._groups[wanted] = _Group(wanted, (wanted.exact_namespace, wanted.role))
        self._keys.setdefault(group.key, {})[group] = None
        self._by_meta += bool(wanted.meta)
        return group

    def _part(self, group: _Group) -> None:
        del self._groups[group.wanted]
        del self._keys[group.key][group]
        if not self._keys[group.key]:
            del self._keys[group.key]
        self._by_meta -= bool(group.wanted.meta)
