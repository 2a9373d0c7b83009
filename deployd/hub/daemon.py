"""The hub as a daemon: AMP for people and drones, HTTP for git."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from deployd.daemon.sealing import KeyFile, Seal
from deployd.daemon.service import DaemonService
from deployd.errors import DeploydError, InternalError
from deployd.git.repositories import Repositories
from deployd.git.web.smart_http import GitResource
from deployd.git.work.pool import Pool
from deployd.hub.access import GitAccess
from deployd.hub.control_responders import ControlConversation
from deployd.hub.fleet_responders import DroneConversation
from deployd.hub.options import HubOptions
from deployd.hub.route_responders import RouterConversation
from deployd.hub.service import Hub, Means
from deployd.hub.web import HubSite, Root
from deployd.net.addresses import beyond_loopback, listening_address
from deployd.net.server import ServerFactory, ServerTerms
from deployd.storage.sqlite import SqliteStore, connection_pool, make_private

CONTROL_THREADS = 4
# Seconds that a push which has arrived whole may take once the hub is to stop.
LAST_PUSH = 10.0
DATABASE = "hub.sqlite"
REPOSITORIES = "repositories"
SPOOL = "spool"


class HubDaemon(DaemonService):
    """Listens at once, so that a port in use is refused in one line, and answers once its state is read."""

    options: HubOptions

    def __init__(self, reactor: Any, options: HubOptions) -> None:
        super().__init__(reactor, options)
        self._control = ThreadPool(0, CONTROL_THREADS, name="control")
        self._workers = Pool.of_processes(reactor)
        self._opening: Deferred[None] | None = None

    def begin(self) -> None:
        options = self.options
        spool, database = self.state.path / SPOOL, self.state.path / DATABASE
        spool.mkdir(mode=0o700, exist_ok=True)
        make_private(database)
        repositories = Repositories(self.state.path / REPOSITORIES, options.git_limits)
        self._pool = connection_pool(self.reactor, database)
        self._hub = Hub(
            Means(
                clock=self.reactor,
                store=SqliteStore(database, self._pool),
                repositories=repositories,
                in_thread=self._in_thread,
                seal=Seal(KeyFile(options.config_key)),
                wall=time.time,
                secret=options.secret,
                advertise=options["advertise"],
            )
        )
        git = GitResource(
            repositories=repositories,
            access=GitAccess(options.secret, self._hub.tokens, lambda app: self._hub.pushes.policy(app).public),
            reactor=self.reactor,
            pool=self._workers,
            spool=spool,
            host=self._hub.pushes,
        )
        self._factory = ServerFactory(self.reactor, self._terms())
        self._site = HubSite(Root(git), git, reactor=self.reactor, spool=spool)
        amp = self.listen(options.amp_listener(options.amp_port), self._factory)
        http = self.listen(options.git_listener(), self._site)
        self.hold([amp, http])
        self._control.start()
        self._opening = Deferred.fromCoroutine(self._open(amp, http)).addErrback(self._failed)

    async def _open(self, amp: IListeningPort, http: IListeningPort) -> None:
        options, hub = self.options, self._hub
        await hub.open()
        advertise = options["advertise"]
        hub.addresses.update(
            amp=listening_address(amp, advertise),
            http=listening_address(http, advertise),
            registry=options["registry"],
            scheme=options.scheme,
        )
        if options.secret and options.scheme == "http" and beyond_loopback([http]):
            self._log.warn(
                "git listens beyond this machine without TLS: pushes show the secret; give --git-listen ssl:..."
            )
        self.answer([amp, http])
        self.state.publish_addresses(amp=hub.addresses["amp"], http=hub.addresses["http"])
        self._log.info("AMP on {amp}, git on {http}", amp=amp.getHost(), http=http.getHost())

    def stopService(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await self.stop_listening()
            self._factory.close_all()
            # Nobody may wait for packs any more; what is being pushed is being stored all the same.
            self._site.abort_all()
            self._site.git.close()
            await self._workers.stop(LAST_PUSH)
            await self._hub.close()
            # Joining threads blocks.
            await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), self._control.stop)
        await super().stopService()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        error = failure.value
        if not isinstance(error, DeploydError | OSError):
            self._log.failure("while opening the hub's state", failure=failure)
            error = InternalError()
        self.fail(error if isinstance(error, DeploydError) else InternalError(str(error)))

    def _in_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self.reactor, self._control, function, *arguments)

    def _terms(self) -> ServerTerms:
        hub = self._hub
        return ServerTerms(
            kind="hub",
            secret=self.options.secret,
            conversations={
                "deploy": lambda peer, session: ControlConversation(hub, session),
                "drone": lambda peer, session: DroneConversation(hub, peer, session),
                "route": lambda peer, session: RouterConversation(hub, peer, session),
            },
            facts=lambda: {name: hub.addresses[name] for name in ("http", "registry")},
        )
