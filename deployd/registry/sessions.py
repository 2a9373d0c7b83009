"""The sessions of owners that are connected: the newest one of each."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from deployd.registry.owner import Seat


@frozen
class _Session:
    """``hang_up`` closes its connection."""

    seat: Seat
    hang_up: Callable[[], None]


class Sessions:
    """One for each owner; the connection of an earlier one is closed when a newer one begins."""

    def __init__(self) -> None:
        self._newest: dict[str, _Session] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def begin(self, seat: Seat, hang_up: Callable[[], None]) -> bool:
        """Whether it takes over from an earlier one."""
        earlier = self._newest.get(seat.owner)
        self._newest[seat.owner] = _Session(seat, hang_up)
        if earlier is not None:
            earlier.hang_up()
        return earlier is not None

    def end(self, seat: Seat) -> None:
        """Its connection is gone; no matter if a newer one has begun."""
        session = self._newest.get(seat.owner)
        if session is not None and session.seat is seat:
            del self._newest[seat.owner]

    def hang_up(self, owner: str) -> None:
        """Close the connection of the owner's session, if it has one."""
        session = self._newest.get(owner)
        if session is not None:
            session.hang_up()
