"""What a registry has done since it was started, counted."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import asdict, define

from deployd.model.row_change import RowChange


@define
class Tally:
    """Rows put, freed by their owners, and fallen; transactions that were saved; calls of owners that were refused."""

    puts: int = 0
    frees: int = 0
    expired: int = 0
    transactions: int = 0
    refusals: int = 0

    def settled(self, changes: Sequence[RowChange]) -> None:
        freed = sum([change.freed for change in changes])
        self.puts += len(changes) - freed
        self.frees += freed
        self.transactions += sum([not change.more for change in changes])

    def fell(self, count: int) -> None:
        """So many of those that were freed had fallen."""
        self.expired += count
        self.frees -= count

    def shown(self) -> dict[str, float]:
        return asdict(self)
