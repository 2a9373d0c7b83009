"""The lines of a watch as server-sent events, each with the position after it.

Note [Exactly where it broke off]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A browser that connects again says which event it saw last. So each event's ``id`` is the position (Note [Positions])
right after its line, in the middle of a snapshot too: were there one only at the end of each page, its lines would come
twice.

A page that is not ``whole`` may be the last one with lines for a long time, when nothing that follows is wanted. Its
last line has ``more``, which would stay true; so it is held back until the next line comes, or the table is whole.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, evolve, field

from deployd.registry.history import Line, Page
from deployd.registry.parts import as_json
from deployd.registry.position import Phase, Position

# Pages are rendered once for all who are at the same place; so many are kept.
KEPT = 64


def places(start: Position | None, page: Page) -> Iterator[Position]:
    """Where each line of ``page`` leads, which follows ``start``."""
    end = page.position
    if start is None or (page.lines and page.lines[0]["type"] == "reset"):
        start = Position(end.epoch, 0, Phase.SNAPSHOT, end.until if end.phase is Phase.SNAPSHOT else end.number)
    for line in page.lines[:-1]:
        place = evolve(start, epoch=end.epoch, number=line["revision"])
        is_past = place.phase is Phase.CATCHING_UP and place.number >= place.until
        yield Position(place.epoch, place.number) if is_past else place
    if page.lines:
        yield end


def event(line: Line, place: Position) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(place).encode(), line["type"].encode(), as_json(line))


def heartbeat(place: Position) -> bytes:
    """What no program sees but in the position that it goes on from."""
    return b":\nid: %b\n\n" % str(place).encode()


@define
class Renderings:
    """Pages as events; what several ask for in a row is rendered once."""

    _kept: dict[tuple[int, Position | None], tuple[Page, bytes]] = field(factory=dict)

    def of(self, start: Position | None, page: Page) -> bytes:
        """The lines of ``page`` that are not held back."""
        if not page.lines:
            return b""
        # The history gives everybody the same lines; while they are kept here nothing else has their identity.
        key = id(page.lines[-1]), start
        kept = self._kept.get(key)
        if kept is not None and kept[0].position == page.position and len(kept[0].lines) == len(page.lines):
            return kept[1]
        events = [event(line, place) for line, place in zip(page.lines, places(start, page), strict=True)]
        text = b"".join(events if page.whole else events[:-1])
        if len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = page, text
        return text


@define
class EventStream:
    """One watcher's events, page by page."""

    renderings: Renderings
    position: Position | None
    _held: Line | None = None

    @property
    def is_holding(self) -> bool:
        """Whether nobody may go on from ``position``, as a line before it was not sent yet."""
        return self._held is not None

    def after(self, page: Page) -> bytes:
        """What is to be sent of the page that follows ``position``; "" when only the position may have moved."""
        before, start = b"", self.position
        if self._held is not None and (page.lines or page.whole):
            before = self._release(page)
        if page.lines and not page.whole:
            self._held = page.lines[-1]
        text = self.renderings.of(start, page)
        self.position = page.position
        return before + text

    def _release(self, page: Page) -> bytes:
        assert self._held is not None
        assert self.position is not None
        held, self._held = self._held, None
        if page.lines:
            return event(held, self.position)
        return event({name: value for name, value in held.items() if name != "more"}, page.position)
