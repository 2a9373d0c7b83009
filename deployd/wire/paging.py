"""Lists longer than one AMP value (65,535 bytes): pages on the way out, assembly on the way in.

Note [Whole state in pages]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
An assignment, a report or a first publication is always the whole state. It travels as ``parts`` commands that carry
``part`` 0, 1, ... in order, each awaited before the next (that is the flow control); the receiver acts on nothing until
the last one is there, and part 0 throws away what an earlier, broken-off transfer left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from attrs import define, field

from deployd.errors import Malformed
from deployd.wire.codec import to_json
from deployd.wire.documents import dump

PAGE_BYTES = 48 * 1024
MAX_PARTS = 2000

T = TypeVar("T")


def pages(items: Iterable[T]) -> list[tuple[T, ...]]:
    """``items`` in order, in at least one page, each at most PAGE_BYTES as JSON (a larger item stands alone)."""
    result: list[tuple[T, ...]] = []
    page: list[T] = []
    size = 0
    for item in items:
        length = len(dump(to_json(item))) + 1
        if page and size + length > PAGE_BYTES:
            result.append(tuple(page))
            page, size = [], 0
        page.append(item)
        size += length
    result.append(tuple(page))
    return result


@define
class Assembly(Generic[T]):
    """Collects the parts of one whole state; one for each direction of a session."""

    _items: list[T] = field(factory=list)
    _expected: int = 0

    @property
    def held(self) -> int:
        """How many items wait for the rest of their transfer."""
        return len(self._items)

    def add(self, part: int, parts: int, items: Iterable[T]) -> tuple[T, ...] | None:
        """Take one part; return everything once the last one is there, else None. Raise Malformed out of order."""
        if not 0 < parts <= MAX_PARTS:
            raise Malformed("too many parts")
        if part == 0:
            self._items, self._expected = [], 0
        if part != self._expected or part >= parts:
            raise Malformed("a part out of order")
        self._items.extend(items)
        self._expected = part + 1
        if self._expected < parts:
            return None
        whole = tuple(self._items)
        self._items, self._expected = [], 0
        return whole
