"""Those who sleep until rows that they want change: bounded, and woken by nothing else.

Note [Woken by and by]
~~~~~~~~~~~~~~~~~~~~~~
To answer a thousand takes a tenth of a second. What is written to them goes out when the reactor gets to it, so those
who are woken together are answered some in each of its turns: the first ones do not wait for the last ones, and neither
does anybody else.

Note [Held against by and by]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
So may it be to find out whom changes concern: thousands may each want something of their own. What is not found out in
a moment waits for the next turns. Whoever begins to wait meanwhile knows of those changes (``since``), and they do not
wake it. Where too many are behind, all are woken, and find out for themselves.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.errors import Busy
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.registry.filter import RowFilter

MAX_WATCHERS = 6000
WATCHERS_PER_ADDRESS = 3000

# So many are answered in one turn, if it does not take longer than a moment.
TOGETHER = 32
MOMENT = 0.005
# So many filters are held against changes before the clock is looked at; so many changes may wait for that.
_STEP = 64
MAX_UNSEEN = 20_000

# The namespace and the role that alone can be wanted, "" where several can.
Key = tuple[str, str]


@frozen
class Woken:
    """Up to ``number`` nothing changed that was wanted, however much else did; ``is_news``: then something did."""

    number: int
    is_news: bool


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
    since: int
    done: Deferred[Woken] = field(factory=Deferred)


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
        self._woken: deque[tuple[_Wait, Woken]] = deque()
        self._waking: IDelayedCall | None = None
        # The last change that was told, and those that were not held against everybody's filter yet.
        self._number = 0
        self._unseen: deque[Sequence[RowChange]] = deque()
        self._looking: Iterator[None] | None = None
        self._look_again: IDelayedCall | None = None
        # How many groups look at metadata.
        self._by_meta = 0

    @property
    def count(self) -> int:
        return len(self._waits)

    def wait(
        self, wanted: RowFilter, seconds: float, who: object, address: str, since: int | None = None
    ) -> Deferred[Woken]:
        """Fires with the first change after ``since`` of a row that ``wanted`` takes; without news after ``seconds``,
        or when ``who`` leaves. Raise Busy.

        ``since`` is the last change there was (None: the last that was told here).
        """
        if who in self._waits:
            raise Busy("this session watches already; one watch at a time")
        if self.count >= self._limit:
            raise Busy(f"too many {self._what} already; try again in a moment")
        if self._addresses[address] >= self._per_address:
            raise Busy(f"{self._per_address} {self._what} from your address already; try again in a moment")
        group = self._groups.get(wanted)
        if group is None:
            group = self._join(wanted)
        timer = self._clock.callLater(seconds, self.leave, who)
        wait = _Wait(group, address, timer, self._number if since is None else since)
        self._waits[who] = group.members[who] = wait
        self._addresses[address] += 1
        return wait.done

    def leave(self, who: object) -> None:
        """Let ``who`` wait no longer."""
        wait = self.drop(who)
        if wait is not None:
            # What was not held against everybody's filter yet may be wanted.
            number = wait.since if self._is_behind else max(wait.since, self._number)
            wait.done.callback(Woken(number, False))

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
        told = list(changes)
        if told:
            self._number = max(self._number, told[-1].number)
        if not self._waits:
            self._unseen.clear()
            return
        self._unseen.append(self._kinds(told))
        if sum(map(len, self._unseen)) > MAX_UNSEEN:
            self._unseen.clear()
            for group in list(self._groups.values()):
                self._wake_all(group)
        if self._look_again is None:
            self._look()

    def close(self) -> None:
        """Answer all: nothing more will come."""
        for planned in (self._waking, self._look_again):
            if planned is not None:
                planned.cancel()
        self._waking = self._look_again = None
        while self._woken:
            wait, woken = self._woken.popleft()
            wait.done.callback(woken)
        for who in list(self._waits):
            self.leave(who)
        self._unseen.clear()
        self._looking = None

    @property
    def _is_behind(self) -> bool:
        return bool(self._unseen) or self._looking is not None

    def _look(self) -> None:
        """Note [Held against by and by]."""
        self._look_again = None
        end = self._clock.seconds() + MOMENT
        if self._looking is None:
            self._looking = self._hold()
        for _ in self._looking:
            if self._clock.seconds() >= end:
                self._look_again = self._clock.callLater(0, self._look)
                break
        else:
            self._looking = None
        if self._woken and self._waking is None:
            self._wake()

    def _hold(self) -> Iterator[None]:
        """Hold what is unseen against the filters, a step at a time."""
        count = 0
        while self._unseen:
            told = self._unseen.popleft()
            for change in told:
                for group in self._candidates(change.row):
                    count += 1
                    if not count % _STEP:
                        yield
                    if group.members and group.wanted.takes(change.row):
                        self._wake_all(group, change.number)

    def _wake_all(self, group: _Group, number: int | None = None) -> None:
        """Those of ``group`` to whom the change ``number`` is news; None: who knows."""
        for who, wait in list(group.members.items()):
            if number is None or number > wait.since:
                self.drop(who)
                self._woken.append((wait, Woken(wait.since if number is None else number - 1, True)))

    def _wake(self) -> None:
        """Note [Woken by and by]."""
        self._waking = None
        end = self._clock.seconds() + MOMENT
        for _ in range(min(TOGETHER, len(self._woken))):
            wait, woken = self._woken.popleft()
            wait.done.callback(woken)
            if self._clock.seconds() >= end:
                break
        if self._woken and self._waking is None:
            self._waking = self._clock.callLater(0, self._wake)

    def _kinds(self, changes: Sequence[RowChange]) -> Sequence[RowChange]:
        """The first of each kind of rows: a thousand rows of one release are one kind, if nobody looks at metadata."""
        if self._by_meta:
            return changes
        kinds: dict[tuple[str, ...], RowChange] = {}
        for change in changes:
            row = change.row
            kinds.setdefault((row.namespace, row.app, row.release, row.role, row.version), change)
        return list(kinds.values())

    def _candidates(self, row: Registration) -> list[_Group]:
        keys = [(namespace, role) for namespace in (row.namespace, "") for role in (row.role, "")]
        return [group for key in keys for group in self._keys.get(key, ())]

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
