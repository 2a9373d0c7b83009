"""The router's sockets: bound by the main process, shared by all that serve."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator, IProtocolFactory

from deployd.daemon.sockets import BACKLOG, raise_file_limit
from deployd.errors import Refused
from deployd.model.address import Address


def bound(interface: str, port: int) -> socket.socket:
    """A socket that listens, so that nobody is refused while processes come and go; raise Refused."""
    raise_file_limit()
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((interface, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        where = f"{interface or '*'}:{port}"
        raise Refused(f"cannot listen on {where}: {(error.strerror or str(error)).lower()}") from None
    made.setblocking(False)
    return made


def accept(
    reactor: Any, listening: socket.socket, factory: IProtocolFactory, tls: IOpenSSLServerConnectionCreator | None
) -> IListeningPort:
    """Take connections for ``factory`` from now on; ``listening`` stays the caller's."""
    if tls is not None:
        # Here, as it needs pyOpenSSL, which a router without HTTPS may do without.
        from twisted.protocols.tls import TLSMemoryBIOFactory

        factory = TLSMemoryBIOFactory(tls, False, factory, reactor)
        factory.noisy = False
    return reactor.adoptStreamPort(listening.fileno(), listening.family, factory)  # type: ignore[no-any-return]


def address_of(listening: socket.socket) -> str:
    """``HOST:PORT`` at which it is reached; loopback where it listens on all interfaces."""
    host, port = listening.getsockname()[:2]
    return str(Address("127.0.0.1" if host in ("0.0.0.0", "::") else host, port))


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
