"""The router's sockets: bound by the main process, shared by all that serve.

Note [Nobody is left in the queue]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A client is connected once the kernel has put it in a socket's queue; one that is still there when the socket is closed
is reset, perhaps with its request under way. So at the end no newcomer gets into the queue any more, then those in it
are taken, and only then the socket is closed. A client that knocks in that moment hears nothing, knocks again a second
later, and is refused; it can go to another router.

Note [Fair shares]
~~~~~~~~~~~~~~~~~~
All processes that share a socket wake when a client knocks. Twisted takes up to a hundred clients at once, so of many
that come together the first process would take them all, and keep them. Where a socket is shared, each takes a few at
once, and then gives the others time to wake.
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory, IReactorTime

from deployd.daemon.sockets import BACKLOG, raise_file_limit
from deployd.errors import Refused
from deployd.model.address import Address

# How many clients a process takes at once from a shared socket, and seconds that it then gives to others.
FEW, WAKING = 2, 0.001

# Of <linux/filter.h> and <asm/socket.h>: a packet filter of one instruction, to keep no byte of anything.
_RETURN = 0x06
_ATTACH_FILTER = 26


def bound(interface: str, port: int) -> socket.socket:
    """A socket with its port, which ``listen`` opens; raise Refused."""
    raise_file_limit()
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((interface, port))
    except OSError as error:
        made.close()
        raise _refused(interface, port, error) from None
    made.setblocking(False)
    return made


def listen(made: socket.socket) -> None:
    """From now on clients are connected, whichever process takes them; until then they are refused. Raise Refused.

    Done by each process that shares it, when it is ready: a client that nobody takes yet had better go elsewhere.
    """
    try:
        made.listen(BACKLOG)
    except OSError as error:
        interface, port = made.getsockname()[:2]
        raise _refused(interface, port, error) from None


def _refused(interface: str, port: int, error: OSError) -> Refused:
    return Refused(f"cannot listen on {interface or '*'}:{port}: {(error.strerror or str(error)).lower()}")


def accept(
    reactor: Any,
    listening: socket.socket,
    factory: IProtocolFactory,
    tls: IOpenSSLServerConnectionCreator | None,
    shared: bool = False,
) -> IListeningPort:
    """Take connections for ``factory`` from now on; ``listening`` stays the caller's. Raise Refused.

    ``shared``: so do other processes (Note [Fair shares]).
    """
    listen(listening)
    if tls is not None:
        # Here, as it needs pyOpenSSL, which a router without HTTPS may do without.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        factory = TLSMemoryBIOFactory(tls, False, factory, reactor)
        factory.noisy = False
    port: Any = reactor.adoptStreamPort(listening.fileno(), listening.family, factory)
    if shared:
        _take_few(reactor, port)
    return port  # type: ignore[no-any-return]


def _take_few(clock: IReactorTime, port: Any) -> None:
    take = port.doRead

    def go_on() -> None:
        if port.connected:
            port.startReading()

    def take_few() -> None:
        before, port.numberAccepts = port.sessionno, FEW
        take()
        if port.sessionno - before == FEW and port.connected:
            port.stopReading()
            clock.callLater(WAKING, go_on)

    port.doRead = take_few


def hush(listening: socket.socket) -> None:
    """Let no newcomer into the queue, of whichever process (Note [Nobody is left in the queue])."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(drop_all)))


def take_queue(port: Any) -> None:
    """Take those that are in the queue of a listening ``port`` already."""
    queue = select.poll()
    queue.register(port.fileno(), select.POLLIN)
    for _ in range(BACKLOG):
        if not queue.poll(0):
            return
        port.doRead()


def address_of(listening: socket.socket) -> str:
    """``HOST:PORT`` at which it is reached; loopback where it listens on all interfaces."""
    host, port = listening.getsockname()[:2]
    return str(Address("127.0.0.1" if host in ("0.0.0.0", "::") else host, port))


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
