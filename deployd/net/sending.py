"""Writing without a round through the reactor.

Note [Sending at once]
~~~~~~~~~~~~~~~~~~~~~~
``transport.write`` only remembers: the socket is written when the reactor next sees it as writable, after two system
calls to ask for that and to stop asking. Nearly every head, small body and message fits into the kernel's buffer at
once, so a plain connection with nothing waiting is written directly, and only what is left over goes to the transport,
which also finds out what is wrong with a broken one. TLS and the tests' transports take everything themselves; so do
UNIX sockets, whose descriptors go along with the bytes that are written after them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.tcp import Connection


def sender(transport: Any) -> Callable[[bytes], None]:
    """What writes to ``transport``."""
    if not isinstance(transport, Connection) or transport.TLS or IUNIXTransport.providedBy(transport):
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
