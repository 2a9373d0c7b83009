"""Where somebody who follows the table is.

Note [Positions]
~~~~~~~~~~~~~~~~
Every change of a row has a number of its own, one higher than the last; so the number of the last change that somebody
has seen says where to go on, also in the middle of a transaction. Who comes from too far back, from another epoch, or
from nowhere gets a *reset*, then the rows of the table in the order of their revisions, each the newest change of its
row. Those are a history too, a compacted one: whoever is cut off in the middle goes on after the last row seen. It ends
at the revision that the table had at the reset; what changed meanwhile is in the history proper, so the table is whole
again once that has been caught up with as far as it was when the last row was read.

    EPOCH.N       everything up to change N is known
    EPOCH.N-sU    in a snapshot: rows with revisions up to N are known, go on with rows up to U
    EPOCH.N-cU    catching up: as EPOCH.N, and the table is whole again at U

To those who follow it is one opaque text; of a plain number it is taken that it is of the present epoch.
"""

from __future__ import annotations

import re
from enum import Enum

from attrs import frozen

_POSITION = re.compile(r"(?:([^.]{1,64})\.)?([0-9]{1,18})(?:-([sc])([0-9]{1,18}))?", re.ASCII)


class Phase(Enum):
    """What comes next."""

    LIVE = ""
    SNAPSHOT = "s"
    CATCHING_UP = "c"


@frozen
class Position:
    """``epoch`` is "" where it was not said."""

    epoch: str
    number: int
    phase: Phase = Phase.LIVE
    until: int = 0

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """None for "" and whatever else is no position."""
        match = _POSITION.fullmatch(text)
        if match is None:
            return None
        epoch, number, phase, until = match.groups()
        return cls(epoch or "", int(number), Phase(phase or ""), int(until or 0))

    def __str__(self) -> str:
        more = f"-{self.phase.value}{self.until}" if self.phase is not Phase.LIVE else ""
        return f"{self.epoch}.{self.number}{more}"
