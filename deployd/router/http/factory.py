"""The proxy behind one listening port."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory

from deployd.router.http.access import AccessLine
from deployd.router.http.connection import ClientConnection
from deployd.router.http.outward import Outward
from deployd.router.http.pool import Pool, close_idle
from deployd.router.http.settings import ProxySettings
from deployd.router.http.timeouts import Deadlines

if TYPE_CHECKING:
    from deployd.router.table import Table

# Of a request's target in the access log: thousands of lines may wait for a slow disk.
MAX_LOGGED = 2048
# How many clients are looked at for one that can give way to another.
LOOKED_AT = 100

Tell = Callable[[AccessLine], None]


class ProxyFactory(ServerFactory):
    """Makes a ClientConnection for each client; ``secure``: they come over TLS.

    ``reactor`` gives the time and the connections to apps.
    """

    noisy = False

    def __init__(
        self, reactor: Any, table: Table, settings: ProxySettings, secure: bool = False, log: Tell | None = None
    ) -> None:
        self.table = table
        self.settings = settings
        self.secure = secure
        self.draining = False
        self.seconds: Callable[[], float] = reactor.seconds
        self.deadlines = Deadlines(reactor)
        self.pool = Pool(reactor, settings, self.deadlines)
        random = Random()
        self.random = random.random
        self._bits = random.getrandbits
        self._log = log
        self._clients: dict[ClientConnection, None] = {}
        # The connections that are idle belong to the table's targets: one function does for every port.
        table.closed = close_idle

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def requests(self) -> int:
        """How many requests are under way, tunnels among them."""
        return sum(client.busy for client in self._clients)

    def buildProtocol(self, addr: IAddress | None) -> ClientConnection | None:  # type: ignore[override]
        """None, which closes the connection, beyond ``max_connections``."""
        if self.draining or (len(self._clients) >= self.settings.max_connections and not self._make_room()):
            return None
        # An IPv4 client of an IPv6 port is still an IPv4 client.
        return ClientConnection(self, str(getattr(addr, "host", "unknown")).removeprefix("::ffff:"))

    def _make_room(self) -> bool:
        """Whether a client without a request gave up its place: who only holds connections keeps nobody out."""
        for client in list(islice(self._clients, LOOKED_AT)):
            # Those looked at are looked at last the next time.
            del self._clients[client]
            if client.give_way():
                return True
            self._clients[client] = None
        return False

    def opened(self, client: ClientConnection) -> None:
        self._clients[client] = None
        self.deadlines.watch(client)

    def closed(self, client: ClientConnection) -> None:
        self._clients.pop(client, None)
        self.deadlines.forget(client)

    def finish(self) -> None:
        """Let what is under way end, and at most one more request of each connection (Note [Parting])."""
        self.draining = True
        for client in list(self._clients):
            client.part()

    def close(self) -> None:
        """End whatever is under way."""
        for client in list(self._clients):
            client.abort()

    def new_id(self) -> bytes:
        return b"%032x" % self._bits(128)

    def tell(self, exchange: Outward) -> None:
        """A request is over: a line of the access log."""
        if self._log is None:
            return
        request, decision = exchange.request, exchange.decision
        seconds = self.seconds() - exchange.began
        self._log(
            AccessLine(
                when=time.time() - seconds,
                client=exchange.client.address,
                host=request.field.decode("latin-1"),
                method=request.method.decode("latin-1"),
                path=request.target[:MAX_LOGGED].decode("latin-1"),
                status=exchange.status,
                bytes=exchange.sent_bytes,
                seconds=seconds,
                route=str(decision.line.key) if decision else "",
                app=decision.app if decision else "",
                release=decision.release if decision else "",
                instance=exchange.target.id if exchange.target else "",
                request_id=exchange.request_id.decode("latin-1"),
                retries=max(exchange.asked - 1, 0),
            )
        )

    def tell_refused(self, client: ClientConnection, status: int, request_id: bytes) -> None:
        """Something was no request."""
        if self._log is not None:
            line = AccessLine(
                time.time(), client.address, "", "", "", status, 0, 0.0, "", "", "", "", request_id.decode(), 0
            )
            self._log(line)
