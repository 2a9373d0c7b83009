"""Which owners' rows fall, and when the next ones might.

Times are seconds of a monotonic clock; the wall clock plays no part.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen


@frozen
class Lease:
    """``lost_at`` is when the owner's session was lost; None while it has one that stands for its rows."""

    owner: str
    lost_at: float | None = None

    def falls_at(self, timeout: float) -> float | None:
        return None if self.lost_at is None else self.lost_at + timeout


def fallen(leases: Iterable[Lease], now: float, timeout: float) -> tuple[str, ...]:
    """The owners, sorted, that have been away for ``timeout`` or longer."""
    return tuple(sorted(lease.owner for lease in leases if _is_due(lease.falls_at(timeout), now)))


def next_fall(leases: Iterable[Lease], timeout: float) -> float | None:
    """When the first of them falls; None while no session is lost."""
    return min((at for lease in leases if (at := lease.falls_at(timeout)) is not None), default=None)


def _is_due(at: float | None, now: float) -> bool:
    return at is not None and at <= now
