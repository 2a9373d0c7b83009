"""Whose rows fall, and when the next ones might.

Times are seconds of a monotonic clock that whoever calls has; the wall clock plays no part.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping


class Leases:
    """The owners that no session stands for, and since when; in that order, so that nobody has to look at all of them.

    An owner that is not among them has a session that stands for its rows, or has no rows.
    """

    def __init__(self) -> None:
        self._lost: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lost)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lost)

    def __contains__(self, owner: object) -> bool:
        return owner in self._lost

    def lose(self, owner: str, now: float) -> None:
        """The owner is away since ``now``, which is no earlier than for any other."""
        self._lost[owner] = now
        self._lost.move_to_end(owner)

    def lose_again(self, owners: Mapping[str, float]) -> None:
        """These have been away all the time, each since then."""
        self._lost = OrderedDict(sorted({**self._lost, **owners}.items(), key=lambda lost: lost[1]))

    def keep(self, owner: str) -> float | None:
        """The owner's rows are not going to fall; since when it was away."""
        return self._lost.pop(owner, None)

    def next_fall(self, timeout: float) -> float | None:
        """When the first of them falls; None while nobody is away."""
        first = next(iter(self._lost), None)
        return None if first is None else self._lost[first] + timeout

    def is_due(self, owner: str, now: float, timeout: float) -> bool:
        """Whether the owner has been away for ``timeout`` or longer."""
        since = self._lost.get(owner)
        return since is not None and since + timeout <= now

    def due(self, now: float, timeout: float) -> list[str]:
        """All who have, those that are away longest first."""
        found = []
        for owner, since in self._lost.items():
            if since + timeout > now:
                break
            found.append(owner)
        return found
