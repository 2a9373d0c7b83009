"""The registry as a daemon: AMP for owners and readers, HTTP for readers.

Note [Rows are no garbage]
~~~~~~~~~~~~~~~~~~~~~~~~~~
Python looks through all objects for cycles whenever there are a quarter more than at the last time. Of 100,000 rows and
their changes that takes a tenth of a second each time, and finds nothing: no row refers to what refers to it. So all is
looked through much more rarely than what is young, and what was read at the start never.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from deployd.daemon.service import DaemonService
from deployd.daemon.threads import KEPT
from deployd.errors import DeploydError, InternalError
from deployd.net.addresses import listening_address
from deployd.net.server import ServerFactory, ServerTerms
from deployd.registry.doors import Doors
from deployd.registry.options import RegistryOptions
from deployd.registry.service import Registry
from deployd.registry.web import root
from deployd.storage.registry_sqlite import sqlite_registry_store

if TYPE_CHECKING:
    from deployd.registry.dns import Streams

DATABASE = "registry.sqlite"
# Note [Rows are no garbage]
COLLECTIONS = (50_000, 10, 100)


class RegistryDaemon(DaemonService):
    """Listens on both ports at once, so that a port in use is refused in one line, and answers once its table is read.

    Says where it listens in ``addresses.json`` and in every handshake.
    """

    options: RegistryOptions

    def __init__(self, reactor: Any, options: RegistryOptions) -> None:
        super().__init__(reactor, options)
        store = sqlite_registry_store(reactor, self.state.path / DATABASE)
        self.registry = Registry(reactor, store, options.secret, options.timeout, options["advertise"], fail=self.fail)
        self.registry.setServiceParent(self)
        self._http = ""
        self._dns: Streams | None = None
        self._opening: Deferred[None] | None = None
        self._doors = Doors(reactor, options)
        self._doors.setServiceParent(self)
        self._factory = ServerFactory(reactor, self._terms())
        self._site = self._doors.site(root(self.registry, reactor))

    def begin(self) -> None:
        # Note [Threads give way soon]
        sys.setswitchinterval(KEPT)
        gc.set_threshold(*COLLECTIONS)
        options = self.options
        self._doors.open(self.state.path)
        amp = self.listen(options.amp_listener(options.amp_port), self._factory)
        http = self.listen(options.http_listener(), self._site)
        self.hold([amp, http])
        self._opening = Deferred.fromCoroutine(self._open(amp, http)).addErrback(self._failed)

    async def _open(self, amp: IListeningPort, http: IListeningPort) -> None:
        options = self.options
        await self.registry.open()
        # Note [Rows are no garbage]
        gc.collect()
        gc.freeze()
        self._http = listening_address(http, options["advertise"])
        dns = "" if options.dns_port is None else self._listen_dns(options.dns_port)
        self.answer([amp, http])
        self._log.info("AMP on {amp}, HTTP on {http}", amp=amp.getHost(), http=http.getHost())
        self.state.publish_addresses(
            amp=listening_address(amp, options["advertise"]), http=self._http, dns=dns, key=self._doors.key
        )

    def stopService(self) -> Deferred[Any]:
        if self._opening is not None:
            self._opening.cancel()
        self._factory.close_all()
        self._site.close_all()
        if self._dns is not None:
            self._dns.close_all()
        return super().stopService()

    def _listen_dns(self, port: int) -> str:
        # Here and not above: twisted.names would make everybody's start longer.
        from deployd.registry.dns import dns_servers

        streams, datagrams = dns_servers(self.registry, self.reactor)
        listening = self.listen_with_datagrams(port, self.options.interface, streams, datagrams)
        self._dns = streams
        self._log.info("DNS on {dns}", dns=listening.getHost())
        return listening_address(listening, self.options["advertise"])

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, DeploydError | OSError):
            self._log.failure("while opening the registry's table", failure=failure)
            error = InternalError()
        self.fail(error if isinstance(error, DeploydError) else InternalError(str(error)))

    def _terms(self) -> ServerTerms:
        return ServerTerms(
            kind="registry",
            secret=self.options.secret,
            conversations=self._doors.conversations(self.registry),
            facts=lambda: {"http": self._http, "scheme": self.options.scheme, **self._doors.facts},
            anonymous=self._doors.anonymous,
            authorized=self._doors.authorized,
            identity=lambda: self._doors.identity,
            heartbeat=self.options.heartbeat,
            timeout=self.options.timeout,
        )
