"""Ports for daemons that a test kills and starts again at the same place."""

from __future__ import annotations

import os
import socket
from itertools import count

# Below those that the kernel gives to outgoing connections: while a daemon is away, somebody's connection could get its
# port, or one that dials it in vain could even meet itself there. Above those that drones give to apps.
FIRST, LAST = 30_000, 32_767
_WORKERS = 8
_EACH = (LAST - FIRST + 1) // _WORKERS

_turn = count(os.getpid())


def kept_port() -> str:
    """A free one; each of pytest's workers has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _WORKERS
    for number in _turn:
        port = FIRST + worker * _EACH + number % _EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return str(port)
    raise AssertionError("not reached")
