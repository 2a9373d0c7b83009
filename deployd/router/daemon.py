"""The router as a daemon: puts its parts together, starts them, and ends them in order."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

import deployd
from deployd.daemon.service import DaemonService
from deployd.daemon.threads import Threads
from deployd.errors import DeploydError, Refused
from deployd.net.addresses import client_endpoint, client_endpoints, host_of
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.processes.environment import machine_addresses
from deployd.router.admin import AdminSite
from deployd.router.figures import Figures
from deployd.router.forbidden import forbidden
from deployd.router.hub_link import Events, HubLink
from deployd.router.listening import address_of, bound, hush, listen, port_of
from deployd.router.options import HUB_PORT, REGISTRY_PORT, RouterOptions
from deployd.router.registry_link import RegistryLink, seen_from_here
from deployd.router.saved import Saved
from deployd.router.service import Router
from deployd.router.serving import FINISH, Serving, ServingOptions
from deployd.router.spawning import spawner
from deployd.router.table import Table
from deployd.router.workers import Workers
from deployd.wire.workers import Gauge

SAVED = "table.sqlite"
# How long workers have beyond what requests have.
AFTER = 5.0


class RouterDaemon(DaemonService):
    """``twistd deployd-router``; the router itself is in ``deployd.router.service``.

    Note [The order of an end]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    First no connection is taken any more; then the requests that are under way may end, and as long as there are any,
    hub and registry are followed and the hub hears what is busy, so that nothing is stopped under them. Only then the
    hub is told that nobody need wait for this router.
    """

    options: RouterOptions
    _log = Logger()

    def __init__(self, reactor: Any, options: RouterOptions) -> None:
        super().__init__(reactor, options)
        self._program = f"deployd-router {deployd.__version__}"
        # One: what is saved later must be on disk later.
        self._saving = Threads(reactor, "saving", 1)
        self._serving: Serving | None = None
        self._workers: Workers | None = None
        self._begun = self._published = self._refused = False
        self._hub_http = self._hub_host = ""

    def begin(self) -> None:
        options = self.options
        identity = self._identity()
        self._saved = Saved(self.state.path / SAVED)
        contents = self._saved.read()
        self._here = machine_addresses()
        self._http = bound(options.interface, options.http_port)
        self._https = None if options.https_port is None else bound(options.interface, options.https_port)
        self._saving.start()
        self.table = Table(self.reactor)
        self.router = Router(self.reactor, self.table, self._save, self._changed)
        known = contents.facts.get("accepted") == options["name"] or contents.table.number > 0
        self._hub = HubLink(
            self._dial(options["hub"], HUB_PORT, "route", identity),
            options["name"],
            self.router,
            Events(self._entered, self._refuse, self.router.hub_away),
            known,
        )
        self._registry = RegistryLink(self._to_registry, self.router, self._forbid)
        self._noted = contents.facts
        self._prepare_serving()
        self._open_admin()
        self._forbid()
        self.router.ready.addCallback(lambda _: self._serve())
        self.router.ready.addErrback(self._failed)
        self.router.recall(contents)
        self._hub.setServiceParent(self)
        self._registry.setServiceParent(self)
        if options["registry"]:
            # What is no address is refused now.
            self._to_registry(options["registry"])
        registry = options["registry"] or contents.facts.get("registry", "")
        if registry:
            self._registry.use(registry)

    def stopService(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        # Note [The order of an end]
        self.state.withdraw_addresses()
        if self._begun:
            await self._finish()
        await self._hub.depart()
        await self._hub.disownServiceParent()
        await self._registry.disownServiceParent()
        await self.router.close()
        await self._saving.run(self._saved.close)
        self._shut()
        await super().stopService()

    async def _finish(self) -> None:
        for listening in self._listening():
            hush(listening)
        if self._workers is not None:
            await self._workers.finish()
            self._shut()
            await self._workers.ended(FINISH + AFTER)
        elif self._serving is not None:
            await self._serving.stop_accepting()
            self._shut()
            await self._serving.finish()

    def _listening(self) -> list[socket.socket]:
        """What is not closed yet."""
        return [each for each in (self._http, self._https) if each is not None and each.fileno() >= 0]

    def _shut(self) -> None:
        for listening in self._listening():
            listening.close()

    # Serving.

    def _prepare_serving(self) -> None:
        options = self.options
        serving = ServingOptions(
            certs=str(options.certs or ""),
            https_port=port_of(self._https) if self._https else 443,
            trusted=tuple(map(str, options.trusted)),
            access_log=options["access-log"] or "",
            shared=options.workers > 1,
        )
        # Made in any case: what cannot be served is refused at the start, in one line.
        if options.workers == 1:
            self._serving = Serving(self.reactor, self.table, serving, self._http, self._https, self._in_thread)
            return
        serving.check()
        spawn = spawner(self.reactor, serving, self._http, self._https)
        self._workers = self.router.workers = Workers(
            self.reactor, options.workers, spawn, self.table.snapshot, self._workers_changed
        )

    def _serve(self) -> None:
        """There is a table: take requests."""
        if self._workers is not None:
            self._workers.start()
        elif self._serving is not None:
            try:
                self._serving.begin()
            except Refused as error:
                self._refuse(error)
                return
            self._publish()
        self._begun = True

    def _workers_changed(self) -> None:
        if self._workers is not None and self._workers.serving == self.options.workers:
            self._publish()
        self._changed()

    def _publish(self) -> None:
        if self._published:
            return
        self._published = True
        addresses = {"http": address_of(self._http), "https": address_of(self._https) if self._https else ""}
        addresses["admin"] = self._admin
        self._log.info("serving: {addresses}", addresses={name: text for name, text in addresses.items() if text})
        # A disk that is full keeps the router not from its requests.
        self._saving.run(self.state.publish_addresses, **addresses).addErrback(self._not_saved)

    def _open_admin(self) -> None:
        self._admin = ""
        self._admin_port = 0
        if self.options.admin_port is None:
            return
        figures = Figures(self.router, self._hub, self._registry, self._gauge, self._processes)
        listening = bound(self.options["admin-interface"], self.options.admin_port)
        listen(listening)
        site = AdminSite(figures, self.reactor)
        self._ports.append(self.reactor.adoptStreamPort(listening.fileno(), listening.family, site))
        self._admin, self._admin_port = address_of(listening), port_of(listening)
        listening.close()

    def _gauge(self) -> Gauge:
        if self._workers is not None:
            return self._workers.gauge()
        return self._serving.gauge() if self._serving is not None else Gauge()

    def _processes(self) -> int:
        return self._workers.serving if self._workers is not None else int(self._begun)

    # What is heard.

    def _entered(self, registry: str) -> None:
        dialled, peer = host_of(self.options["hub"]), self._hub.peer
        self._hub_http = peer.facts.get("http", "") if peer is not None else ""
        self._hub_host = peer.peer_host() if peer is not None else ""
        seen = seen_from_here(registry, dialled or self._hub_host)
        self._note(accepted=self.options["name"], registry=seen)
        address = self.options["registry"] or seen
        if address:
            self._registry.use(address)
        else:
            self._log.warn("the hub names no registry: give the hub or this router --registry")
        self._forbid()

    def _changed(self) -> None:
        self._hub.changed()

    def _refuse(self, error: DeploydError) -> None:
        if not self._refused:
            self._refused = True
            self.fail(error)

    def _forbid(self) -> None:
        own = [port_of(listening) for listening in self._listening()]
        own += [self._admin_port] if self._admin_port else []
        hub = self.options["hub"]
        others = [hub, self._hub_http, self._registry.address, self._registry.http]
        others += [f"{self._hub_host}:{text.rpartition(':')[2]}" for text in (hub, self._hub_http) if self._hub_host]
        addresses = forbidden(own, others, self._here)
        self.table.forbid(addresses)
        if self._workers is not None:
            self._workers.forbid(sorted(addresses))

    # Means.

    def _identity(self) -> Identity:
        path = self.state.path / "identity"
        try:
            return Identity.load(path)
        except ValueError:
            raise Refused(f"{path} is not an identity; delete it to make a new one") from None

    def _dial(self, address: str, port: int, purpose: str, identity: Identity | None = None) -> Dial:
        endpoint, shown = client_endpoint(self.reactor, address, port)
        return Dial(self.reactor, endpoint, shown, Credentials(self._program, purpose, self.options.secret, identity))

    def _to_registry(self, addresses: str) -> Dial:
        endpoint, shown = client_endpoints(self.reactor, addresses, REGISTRY_PORT)
        return Dial(self.reactor, endpoint, shown, Credentials(self._program, "read", self.options.secret))

    def _save(self, method: str, *arguments: Any) -> Deferred[Any]:
        return self._saving.run(getattr(self._saved, method), *arguments)

    def _note(self, **facts: str) -> None:
        new = {name: value for name, value in facts.items() if self._noted.get(name) != value}
        if new:
            self._noted = self._noted | new
            self._saving.run(self._saved.note, **new).addErrback(self._not_saved)

    def _in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    def _not_saved(self, failure: Failure) -> None:
        self._log.warn("{error}", error=failure.value)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("while beginning to serve", failure=failure)
