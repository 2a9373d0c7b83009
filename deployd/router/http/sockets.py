"""What a transport does not tell: what the kernel knows."""

from __future__ import annotations

import struct
from fcntl import ioctl
from socket import MSG_DONTWAIT, MSG_PEEK
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.tcp import Connection


def unsent(transport: Any) -> int:
    """The bytes that the other side has not taken yet, in the process and in the kernel; -1 if it is not known."""
    below = getattr(transport, "transport", transport)
    if not isinstance(below, Connection) or not below.connected:
        return -1
    plain: Any = below
    waiting = len(plain.dataBuffer) - plain.offset + plain._tempDataLen
    try:
        (queued,) = struct.unpack("i", ioctl(plain.socket.fileno(), TIOCOUTQ, bytes(4)))
    except OSError:
        return -1
    return int(waiting + queued)


def something_came(transport: Any) -> bool:
    """Whether the kernel has bytes, or an end, that were not read yet."""
    below = getattr(transport, "transport", transport)
    if not isinstance(below, Connection) or not below.connected:
        return False
    try:
        below.socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def close(transport: Any) -> None:
    """Close after what is written is sent; Twisted waits for a registered producer, so there may be none any more."""
    transport.unregisterProducer()
    transport.loseConnection()
