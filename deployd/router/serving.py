"""What serves in one process, the main one or a worker's: sockets, certificates, the proxy, the access log."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater

from deployd.router.access_log import access_log
from deployd.router.access_text import line_of
from deployd.router.http.access import AccessLine
from deployd.router.http.factory import ProxyFactory
from deployd.router.http.settings import ProxySettings
from deployd.router.listening import accept, take_queue
from deployd.router.table import Table
from deployd.wire.workers import Gauge

if TYPE_CHECKING:
    from deployd.router.certificates import Certificates, Looking

# Seconds that requests have to end in, and between two looks whether they have.
FINISH = 10.0
GLANCE = 0.05


@frozen
class ServingOptions:
    """What a serving process is told of the command line; "" where an option was not given."""

    certs: str = ""
    https_port: int = 443
    trusted: tuple[str, ...] = ()
    access_log: str = ""
    # Whether other processes serve at the same sockets.
    shared: bool = False

    def settings(self) -> ProxySettings:
        trusted = tuple(ip_network(text) for text in self.trusted)
        return ProxySettings(https_port=self.https_port, trusted=trusted)

    def check(self) -> None:
        """Raise OSError or Refused where a process with these could not serve."""
        if self.access_log and self.access_log != "-":
            Path(self.access_log).open("ab").close()
        if self.certs:
            certificates(self.certs)


class Serving:
    """``http`` and ``https`` are sockets with their ports; ``in_thread`` is for what blocks."""

    def __init__(
        self,
        reactor: Any,
        table: Table,
        options: ServingOptions,
        http: socket.socket,
        https: socket.socket | None,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._reactor = reactor
        self._table = table
        self._options = options
        self._sockets = (http, https)
        self._in_thread = in_thread
        self._access = access_log(options.access_log or None)
        log = None if self._access is None else self._write
        settings = options.settings()
        self._factories = [ProxyFactory(reactor, table, settings, secure=False, log=log)]
        self._tls: Any = None
        self._looking: Looking | None = None
        self._ports: list[IListeningPort] = []
        if https is not None:
            self._factories.append(ProxyFactory(reactor, table, settings, secure=True, log=log))
            self._tls = certificates(options.certs)
            self._looking = looking(reactor, in_thread, self._tls)

    def begin(self) -> None:
        """Take connections from now on."""
        if self._access is not None:
            self._access.start()
        if self._looking is not None:
            self._looking.start()
        for listening, factory, tls in zip(self._sockets, self._factories, (None, self._tls), strict=False):
            assert listening is not None
            self._ports.append(accept(self._reactor, listening, factory, tls, self._options.shared))

    def stop_accepting(self) -> Deferred[Any]:
        """Where ``hush`` has been called on the sockets, nobody is lost. They are closed here.

        A worker whose main process was killed has the last of them: clients would be connected, and wait for nobody,
        and the next router could not have the port.
        """
        ports, self._ports = self._ports, []
        for port in ports:
            take_queue(port)
        if self._looking is not None:
            self._looking.stop()
        stopped = DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        return stopped.addCallback(lambda _: self._close_sockets())

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            if listening is not None:
                listening.close()

    async def finish(self, limit: float = FINISH) -> None:
        """After ``stop_accepting``: let requests end for ``limit`` seconds, then end them; write the log."""
        end = self._reactor.seconds() + limit
        for factory in self._factories:
            factory.finish()
        while any(factory.connections for factory in self._factories) and self._reactor.seconds() < end:
            await deferLater(self._reactor, GLANCE)
        for factory in self._factories:
            factory.close()
        if self._access is not None:
            await self._in_thread(self._access.close)

    def gauge(self) -> Gauge:
        return Gauge(
            connections=sum(factory.connections for factory in self._factories),
            requests=sum(factory.requests for factory in self._factories),
            ejected=sum(bool(target.failures) for pool in self._table.pools for target in pool.targets),
            dropped=self._access.dropped if self._access is not None else 0,
        )

    def _write(self, line: AccessLine) -> None:
        assert self._access is not None
        self._access.add(lambda: line_of(line))


# Imported where they are used, as they need pyOpenSSL, which a router without HTTPS may do without.


def certificates(directory: str) -> Certificates:
    """What ``--certs`` has; raise Refused if that is nothing."""
    from deployd.router.certificates import Certificates

    made = Certificates(Path(directory))
    made.look()
    return made


def looking(clock: Any, in_thread: Callable[..., Deferred[Any]], read: Certificates) -> Looking:
    from deployd.router.certificates import Looking

    return Looking(clock, in_thread, read)
