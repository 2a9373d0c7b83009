"""Listening sockets that outlive the processes they are handed to."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from deployd.errors import Refused
from deployd.model.address import Address
from deployd.model.invalid import Invalid

BACKLOG = 1024
# The process must say its own pid, which nobody knows before it is there.
_TOLD = 'LISTEN_PID=$$; export LISTEN_PID; exec "$@"'


class Sockets:
    """One for each id, kept until ``close``: connections wait in it while nobody accepts."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, socket.socket]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, id: str) -> bool:
        return id in self._open

    def listen(self, id: str, address: str) -> socket.socket:
        """The socket of ``id`` on ``HOST:PORT``: the one that it has, or a new one. Raise Refused with one sentence."""
        known = self._open.get(id)
        # An app that calls shutdown() on it, as some do at their end, has ended it for all who have it.
        if known is not None and known[0] == address and known[1].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return known[1]
        self.close(id)
        try:
            place = Address.parse(address)
        except Invalid as error:
            raise Refused(str(error)) from None
        made = socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((place.host, place.port))
            made.listen(BACKLOG)
        except OSError as error:
            made.close()
            raise Refused(f"cannot listen on {address}: {(error.strerror or str(error)).lower()}") from None
        self._open[id] = (address, made)
        return made

    def close(self, id: str) -> None:
        known = self._open.pop(id, None)
        if known is not None:
            known[1].close()


def told(argv: Sequence[str]) -> tuple[str, ...]:
    """``argv`` with its own pid in LISTEN_PID, without which no program takes the socket that LISTEN_FDS promises."""
    return ("/bin/sh", "-c", _TOLD, "sh", *argv)
