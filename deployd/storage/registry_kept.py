"""Which changes of the log are still needed."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import islice

from deployd.model.row_change import RowChange

STEP = 256
"""So many changes are looked at, or deleted, in one step."""


class Kept:
    """Of all changes those above ``floor`` are needed, and those that put a row as it still is.

    About ``max_changes`` and ``max_bytes`` are above the floor; it rises by a step at a time.
    """

    def __init__(self, floor: int, max_changes: int, max_bytes: int) -> None:
        self.floor = floor
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        # Of each id the number of the change that put its row.
        self._live: dict[str, int] = {}
        # Of each change above the floor, in their order, whether it is needed for nothing else.
        self._replaced = bytearray()
        # Changes at or below the floor that nobody needs and that are not deleted yet.
        self._dead: deque[int] = deque()
        # How long the texts above the floor are, by blocks of numbers, and together.
        self._blocks: defaultdict[int, int] = defaultdict(int)
        self._bytes = 0

    @property
    def number(self) -> int:
        """Of the newest change."""
        return self.floor + len(self._replaced)

    def add(self, change: RowChange, size: int) -> None:
        """The next change, whose text is ``size`` long. One at or below the floor is of a row, or can go."""
        row_id, number, freed = change.row.id, change.number, change.freed
        old = self._live.pop(row_id, None) if freed else self._live.get(row_id)
        if old is not None:
            self._give_up(old)
        if not freed:
            self._live[row_id] = number
        if number > self.floor:
            self._replaced.append(freed)
            self._blocks[number // STEP] += size
            self._bytes += size
        elif freed:
            self._dead.append(number)

    @property
    def steps(self) -> int:
        """About how many steps of work there are."""
        return len(self._dead) // STEP + max(0, self._over())

    @property
    def dead(self) -> list[int]:
        """What may be deleted, once it is worth a step."""
        return list(islice(self._dead, STEP)) if len(self._dead) >= STEP else []

    def deleted(self, count: int) -> None:
        """So many of the ``dead`` are gone."""
        for _ in range(count):
            self._dead.popleft()

    def rise(self) -> bool:
        """Let the floor rise by a step, if it should."""
        if self._over() <= 0:
            return False
        block = (self.floor + 1) // STEP
        count = min((block + 1) * STEP - 1, self.number) - self.floor
        self._dead.extend(self.floor + place for place, gone in enumerate(self._replaced[:count], 1) if gone)
        del self._replaced[:count]
        self.floor += count
        self._bytes -= self._blocks.pop(block)
        return True

    def _give_up(self, number: int) -> None:
        if number > self.floor:
            self._replaced[number - self.floor - 1] = True
        else:
            self._dead.append(number)

    def _over(self) -> int:
        """By how many steps the floor is too low."""
        over = (len(self._replaced) - self._max_changes) // STEP
        # One is kept however long it is, as the table's number is its number.
        return max(over, 1) if self._bytes > self._max_bytes and len(self._replaced) > STEP else over
