"""The drone as a daemon: puts its parts together, starts them, and ends them in order."""

from __future__ import annotations

import os
import random
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

import deployd
from deployd.client.owner import OwnedRows
from deployd.daemon.service import DaemonService
from deployd.daemon.threads import Threads
from deployd.drone.checkouts import Checkouts
from deployd.drone.configs import Configs
from deployd.drone.custody import PortWatch
from deployd.drone.disk import Tree, size_of
from deployd.drone.instances import Instances
from deployd.drone.journal import Journal
from deployd.drone.logs import Logs
from deployd.drone.means import Means
from deployd.drone.options import HUB_PORT, DroneOptions
from deployd.drone.port_table import PortTable, RegistryTerms
from deployd.drone.prefetching import Prefetching
from deployd.drone.reporting import Reporting
from deployd.drone.room import Room
from deployd.drone.service import Crew, Drone, Events
from deployd.drone.surroundings import REGISTRY_PORT, Surroundings
from deployd.errors import DeploydError, Refused
from deployd.git import fetching
from deployd.git.limits import GitLimits
from deployd.net.addresses import client_endpoint, trust_of
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.census import Census
from deployd.processes.custody import Custody
from deployd.processes.ending import end
from deployd.processes.environment import SYSTEM_PATH, machine_addresses
from deployd.processes.hardening import make_undumpable
from deployd.processes.ports import Ports
from deployd.processes.readiness import by_address


class DroneDaemon(DaemonService):
    """``twistd deployd-drone``; the drone itself is in ``deployd.drone.service``."""

    options: DroneOptions

    def __init__(self, reactor: Any, options: DroneOptions) -> None:
        super().__init__(reactor, options)
        self._program = f"deployd-drone {deployd.__version__}"
        self._processes = Threads(reactor, "processes", 4)
        self._git = Threads(reactor, "git", 2)
        # Their own: large trees take long, and no stop should wait for that.
        self._disk = Threads(reactor, "disk", 2)
        # One: what is saved later must be on disk later.
        self._saving = Threads(reactor, "journal", 1)
        self._logs = Logs(options.state_dir / "logs", reactor, self._processes.run)
        self._table = PortTable(self._registry)
        self._app_ports = Ports(*options.ports, reactor, start=random.randrange(65536))
        self._refused = False

    def begin(self) -> None:
        make_undumpable()
        # twistd in the background sets 077, under which the same commit would get other file modes than with -n. What
        # is private lies in the state directory, which nobody else may enter.
        os.umask(0o022)
        directory = self.state.path
        try:
            self._identity = Identity.load(directory / "identity")
        except ValueError:
            raise Refused(f"{directory / 'identity'} is not an identity; delete it to make a new one") from None
        self._journal = Journal(directory / "journal.sqlite")
        contents = self._journal.read()
        self._logs.prepare()
        for threads in (self._processes, self._git, self._disk, self._saving):
            threads.start()
        # The first look loads a library, for which the first deploy need not wait.
        self._processes.run(machine_addresses)
        drone = self._assemble(known=contents.facts.get("accepted") == self.options["name"])
        self._checkouts.clean()
        lines = {CheckoutKey.of(entry.line) for entry in contents.entries}
        self._configs.clean(lines | self._checkouts.keys())
        drone.dial(self._dial(self.options["hub"], HUB_PORT, "drone"))
        self._surroundings.recall(contents.facts)
        self._instances.recall(contents)
        drone.setServiceParent(self)
        self._drone = drone

    def stopService(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._drone.disownServiceParent()
        self._prefetching.close()
        if self.options["on-stop"] == "stop":
            self._log.info("stopping the apps")
            await self._instances.stop_all()
            await self._table.leave()
        else:
            self._instances.leave_all()
            await self._table.hang_up()
        self._checkouts.close()
        self._app_ports.close()
        self._logs.close()
        await self._saving.run(self._journal.close)
        await super().stopService()

    def _assemble(self, known: bool) -> Drone:
        options, reactor = self.options, self.reactor
        tree = Tree(self.state.path)
        drone: Drone
        fetch = partial(fetching.fetch, trust=trust_of(options["hub"]))
        self._room = Room(
            reactor,
            self._disk.run,
            tree.top,
            lambda: size_of(tree.top / "checkouts"),
            options.disk_reserve,
            options.cache_budget,
        )
        self._checkouts = Checkouts(
            reactor, tree, self._git.run, lambda app: drone.source(app), GitLimits(), self._room, fetch, self._made
        )
        self._configs = Configs(
            self.state.path,
            self._processes.run,
            lambda line: drone.config(line),
            lambda: self._instances.revision.epoch,
        )
        self._prefetching = Prefetching(self._checkouts)
        self._surroundings = Surroundings(reactor, self._table, options["registry"], options["advertise"], self._note)
        reporting = Reporting(reactor, lambda: (self._instances.revision, self._instances.observed()))
        means = self._means()
        self._instances = Instances(
            means, self._journal, self._saving.run, self._checkouts, self._logs, reporting.changed
        )
        crew = Crew(self._instances, self._prefetching, self._surroundings, self._table, reporting)
        description = options.described(self._identity.owner)
        drone = Drone(description, options["advertise"], crew, Events(self._accepted, self._refuse), known)
        PortWatch(means, self._instances.all).setServiceParent(drone)
        return drone

    def _means(self) -> Means:
        reactor, processes = self.reactor, self._processes.run
        census = Census(processes)
        return Means(
            reactor=reactor,
            drone=self.options["name"],
            to_thread=processes,
            connect=by_address(reactor),
            custody=Custody(processes),
            end=lambda id, session, grace: end(reactor, census, id, session, grace),
            ports=self._app_ports,
            checkouts=self._checkouts,
            rows=self._table,
            place=self._surroundings.place,
            save=lambda *process: self._saving.run(self._journal.started, *process),
            output=self._logs.of,
            jitter=random.random,
            path=SYSTEM_PATH,
        )

    def _registry(self, terms: RegistryTerms) -> OwnedRows:
        dial = self._dial(terms.address, REGISTRY_PORT, "register")
        return OwnedRows(dial=dial, name=self.options["name"], credential=terms.credential, advertise=terms.host)

    def _dial(self, address: str, port: int, purpose: str) -> Dial:
        endpoint, shown = client_endpoint(self.reactor, address, port)
        credentials = Credentials(self._program, purpose, self.options.secret, self._identity)
        return Dial(self.reactor, endpoint, shown, credentials)

    def _note(self, **facts: str) -> Deferred[None]:
        return self._saving.run(self._journal.note, **facts)

    def _made(self) -> None:
        self._instances.look_again()
        self._prefetching.go_on()

    def _accepted(self) -> None:
        self._note(accepted=self.options["name"]).addErrback(self._not_noted)
        # A disk that is full keeps the drone not from its hub.
        self._saving.run(self.state.publish_addresses).addErrback(self._not_noted)

    def _refuse(self, error: DeploydError) -> None:
        if not self._refused:
            self._refused = True
            self.fail(error)

    def _not_noted(self, failure: Failure) -> None:
        self._log.warn("{error}", error=failure.value)
