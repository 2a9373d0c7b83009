"""The table as routers of an earlier deployd follow it (``Watch``), on top of what others follow.

To them a revision stood for a whole transaction. So changes that do not all fit into one page come with the revision
from before them until the last one is there, and the position says which one that is: ``EPOCH.N+M``, where M is where
those changes began.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import frozen

from deployd.model.revision import Revision
from deployd.registry.history import Line, Page
from deployd.registry.position import Phase, Position

_PLACE = re.compile(r"([^+]*)(?:\+([0-9]{1,18}))?", re.ASCII)


@frozen
class Place:
    """Where such a router is: what it asked for, and up to where its table is complete (None: unknown)."""

    position: Position | None
    complete: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        match = _PLACE.fullmatch(text)
        position = Position.parse(match[1]) if match else None
        if position is None or match is None or position.phase is not Phase.LIVE:
            return cls(None)
        return cls(position, int(match[2]) if match[2] else position.number)

    def answer(self, page: Page, now: Revision) -> dict[str, Any]:
        """What follows, as the answer of Watch; ``now`` is the table's revision."""
        lines, epoch = page.lines, page.position.epoch
        if self.complete is None or (lines and lines[0]["type"] == "reset"):
            return {"reset": True, "changes": [], "position": f"{now.epoch}.{now.number}", "revision": now}
        complete, end = page.position.number, ""
        if not page.whole:
            whole = [line["revision"] for line in lines if "more" not in line]
            if whole:
                # What follows those comes with the rest of what belongs to it.
                complete = whole[-1]
                lines = tuple(line for line in lines if line["revision"] <= complete)
            else:
                complete, end = self.complete, f"+{self.complete}"
        number = complete if not end else page.position.number
        changes = [_change(line) for line in lines]
        revision = Revision(epoch, complete)
        return {"reset": False, "changes": changes, "position": f"{epoch}.{number}{end}", "revision": revision}


def _change(line: Line) -> dict[str, Any]:
    return {"delete": line["row"]["id"]} if line["type"] == "delete" else {"put": line["row"]}
