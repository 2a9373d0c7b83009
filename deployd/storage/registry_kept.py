"""Which changes of the log are still needed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import islice

from deployd.model.row_change import RowChange

STEP = 256
"""So many changes are looked at, or deleted, in one step."""


class Kept:
    """Of all changes those above ``floor`` are needed, and those that put a row as it still is.

    About ``max_changes`` and ``max_bytes`` are above the floor; it rises by a step at a time.
    """

    def __init__(self, number: int, floor: int, max_changes: int, max_bytes: int) -> None:
        self.number = number
        self.floor = floor
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        # Of each id the number of the change that put its row.
        self._live: dict[str, int] = {}
        # Changes at or below the floor that nobody needs and that are not deleted yet.
        self._dead: deque[int] = deque()
        # How long the texts above the floor are, by blocks of numbers, and together.
        self._blocks: defaultdict[int, int] = defaultdict(int)
        self._bytes = 0

    def add(self, change: RowChange, size: int) -> None:
        """The next change, whose text is ``size`` long."""
        row_id, number = change.row.id, change.number
        old = self._live.pop(row_id, None) if change.freed else self._live.get(row_id)
        if not change.freed:
            self._live[row_id] = number
        if old is not None and old <= self.floor:
            self._dead.append(old)
        if number <= self.floor:
            if change.freed:
                self._dead.append(number)
            return
        self.number = number
        self._blocks[number // STEP] += size
        self._bytes += size

    @property
    def steps(self) -> int:
        """How many steps of work there are."""
        return len(self._dead) // STEP + max(self._over(), 0)

    @property
    def dead(self) -> list[int]:
        """What may be deleted, if it is worth a step."""
        return list(islice(self._dead, STEP)) if len(self._dead) >= STEP else []

    def deleted(self, count: int) -> None:
        """So many of the ``dead`` are gone."""
        for _ in range(count):
            self._dead.popleft()

    @property
    def ceiling(self) -> int | None:
        """Up to where the floor should rise next, if it should."""
        return min(self._last(self.floor + 1), self.number) if self._over() > 0 else None

    def rise(self, below: Iterable[RowChange], floor: int) -> None:
        """Let the floor be ``floor``; ``below`` are the changes between the old one and it."""
        for change in below:
            if change.freed or self._live.get(change.row.id) != change.number:
                self._dead.append(change.number)
        for block in range((self.floor + 1) // STEP, floor // STEP + 1):
            if self._last(block * STEP) <= floor:
                self._bytes -= self._blocks.pop(block, 0)
        self.floor = floor

    def _over(self) -> int:
        """By how many steps the floor is too low."""
        count = self.number - self.floor
        if self._bytes > self._max_bytes and count > 1:
            return max(1, (count - self._max_changes) // STEP)
        return (count - self._max_changes) // STEP

    @staticmethod
    def _last(number: int) -> int:
        """The last number of its block."""
        return number // STEP * STEP + STEP - 1
