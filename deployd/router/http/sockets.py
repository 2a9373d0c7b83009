"""What a transport does not tell: writing without a round through the reactor, and what the kernel knows.

Note [Sending at once]
~~~~~~~~~~~~~~~~~~~~~~
``transport.write`` only remembers: the socket is written when the reactor next sees it as writable, after two system
calls to ask for that and to stop asking. Nearly every head and small body fits into the kernel's buffer at once, so a
plain TCP connection with nothing waiting is written directly, and only what is left over goes to the transport, which
also finds out what is wrong with a broken one. TLS and the tests' transports take everything themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from fcntl import ioctl
from socket import MSG_DONTWAIT, MSG_PEEK
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.tcp import Connection


def sender(transport: Any) -> Callable[[bytes], None]:
    """What writes to ``transport``."""
    if not isinstance(transport, Connection) or transport.TLS:
        write: Callable[[bytes], None] = transport.write
        return write
    plain: Any = transport
    send = plain.socket.send

    def send_at_once(data: bytes) -> None:
        if plain.dataBuffer or plain._tempDataBuffer:
            plain.write(data)
            return
        try:
            sent = send(data)
        except OSError:
            sent = 0
        if sent < len(data):
            plain.write(data[sent:] if sent else data)

    return send_at_once


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
