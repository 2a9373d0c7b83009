"""An owner of rows, as the row book remembers it."""

from __future__ import annotations

from enum import Enum

from attrs import define, field, frozen

from deployd.model.names import is_commit
from deployd.model.registration import Registration, meta_bytes


class Presence(Enum):
    """What an owner's newest session is about (docs/state-machines)."""

    AWAY = "away"
    ATTACHED = "attached"
    STANDING = "standing"


@frozen
class Seat:
    """One session of an owner, as the book knows it.

    ``name`` and ``host`` are what its rows say; ``accepted``: the hub vouches for it, so it may write commits.
    """

    owner: str
    number: int
    name: str
    host: str
    accepted: bool


@frozen
class Written:
    """What an owner's rows have in common; ``has_commits``: some are in namespaces that are commits, perhaps."""

    name: str
    host: str
    has_commits: bool

    def is_as(self, seat: Seat) -> bool:
        """Whether ``seat`` would write the same."""
        return self.name == seat.name and self.host == seat.host and (seat.accepted or not self.has_commits)


@define(eq=False)
class Owner:
    """Its newest session and its rows.

    ``meta`` is how many bytes of metadata they have, ``changed`` the number of the last change among them or of a later
    one, ``written`` what they have in common, where that is known.
    """

    seat: Seat | None = None
    presence: Presence = Presence.AWAY
    ids: set[str] = field(factory=set)
    meta: int = 0
    changed: int = 0
    written: Written | None = None

    @property
    def stands(self) -> int:
        """The number of the last change of its rows; 0 when it has none."""
        return self.changed if self.ids else 0

    def take(self, row: Registration) -> None:
        self.ids.add(row.id)
        self.meta += meta_bytes(row)

    def drop(self, row: Registration) -> None:
        self.ids.discard(row.id)
        self.meta -= meta_bytes(row)

    def found(self, row: Registration) -> None:
        """One of its rows was in the store; they come in the order of their revisions."""
        written = self.written
        if not self.changed:
            self.written = Written(row.drone, row.host, is_commit(row.namespace))
        elif written is not None and (written.name != row.drone or written.host != row.host):
            self.written = None
        elif written is not None and not written.has_commits and is_commit(row.namespace):
            self.written = Written(row.drone, row.host, True)
        self.take(row)
        self.changed = row.revision
