"""The registry as a daemon: AMP for owners and readers, HTTP for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.defer import Deferred

from deployd.daemon.service import DaemonService
from deployd.net.addresses import listening_address
from deployd.net.server import ServerFactory, ServerTerms
from deployd.registry.book import Book
from deployd.registry.doors import Doors
from deployd.registry.options import RegistryOptions
from deployd.registry.service import Registry
from deployd.registry.web import root

if TYPE_CHECKING:
    from deployd.registry.dns import Streams


class RegistryDaemon(DaemonService):
    """Listens on both ports and says where in ``addresses.json`` and in every handshake."""

    options: RegistryOptions

    def __init__(self, reactor: Any, options: RegistryOptions) -> None:
        super().__init__(reactor, options)
        # The book is kept in memory: each start is a new epoch (Note [The epoch of a book in memory]).
        book = Book(epoch=uuid4().hex)
        self.registry = Registry(reactor, book, options.secret, options.timeout, options["advertise"])
        self.registry.setServiceParent(self)
        self._http = ""
        self._dns: Streams | None = None
        self._doors = Doors(reactor, options)
        self._doors.setServiceParent(self)
        self._factory = ServerFactory(reactor, self._terms())
        self._site = self._doors.site(root(self.registry, reactor))

    def begin(self) -> None:
        options = self.options
        self._doors.open(self.state.path)
        amp = self.listen(options.amp_listener(options.amp_port), self._factory)
        http = self.listen(options.http_listener(), self._site)
        self._http = listening_address(http, options["advertise"])
        dns = "" if options.dns_port is None else self._listen_dns(options.dns_port)
        self._log.info("AMP on {amp}, HTTP on {http}", amp=amp.getHost(), http=http.getHost())
        self.state.publish_addresses(
            amp=listening_address(amp, options["advertise"]), http=self._http, dns=dns, key=self._doors.key
        )

    def stopService(self) -> Deferred[Any]:
        stopping = super().stopService()
        self._factory.close_all()
        self._site.close_all()
        if self._dns is not None:
            self._dns.close_all()
        return stopping

    def _listen_dns(self, port: int) -> str:
        # Here and not above: twisted.names would make everybody's start longer.
        from deployd.registry.dns import dns_servers

        streams, datagrams = dns_servers(self.registry, self.reactor)
        listening = self.listen_with_datagrams(port, self.options.interface, streams, datagrams)
        self._dns = streams
        return listening_address(listening, self.options["advertise"])

    def _terms(self) -> ServerTerms:
        return ServerTerms(
            kind="registry",
            secret=self.options.secret,
            conversations=self._doors.conversations(self.registry),
            facts=lambda: {"http": self._http, **self._doors.facts},
            anonymous=self._doors.anonymous,
            authorized=self._doors.authorized,
            identity=lambda: self._doors.identity,
            heartbeat=self.options.heartbeat,
            timeout=self.options.timeout,
        )
