"""A point in the life of a store."""

from __future__ import annotations

from attrs import frozen

# In place of a revision: where those begin to follow who do not care for what there is.
NOW = "now"


@frozen
class Revision:
    """``number`` only grows within an ``epoch``; a new or restored store starts a new epoch."""

    epoch: str
    number: int

    def reached(self, other: Revision) -> bool:
        """Whether this is ``other`` or later; revisions of two epochs are never comparable."""
        return self.epoch == other.epoch and self.number >= other.number

    def next(self) -> Revision:
        return Revision(self.epoch, self.number + 1)
