"""The drone as a daemon: puts its parts together, starts them, and ends them in order."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Collection
from functools import partial
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

import deployd
from deployd.client.owner import OwnedRows
from deployd.daemon.service import DaemonService
from deployd.daemon.threads import Threads
from deployd.drone.addresses import Addresses
from deployd.drone.building import Builds
from deployd.drone.caches import Caches
from deployd.drone.checkouts import Checkouts
from deployd.drone.checks import Checks
from deployd.drone.configs import Configs
from deployd.drone.custody import PortWatch
from deployd.drone.disk import Tree, size_of
from deployd.drone.instances import Instances
from deployd.drone.isolation import Isolation
from deployd.drone.journal import Contents, Journal
from deployd.drone.keeper_process import KeeperProcess
from deployd.drone.keeping import Keeping
from deployd.drone.limit_watch import Disk as LimitedDisk
from deployd.drone.limit_watch import LimitWatch
from deployd.drone.log_following import LogFollowing
from deployd.drone.logs import LogFiles
from deployd.drone.means import Means
from deployd.drone.options import HUB_PORT, DroneOptions
from deployd.drone.port_table import PortTable, RegistryTerms
from deployd.drone.prefetching import Prefetching
from deployd.drone.reporting import Reporting
from deployd.drone.room import Room
from deployd.drone.runs import Runs
from deployd.drone.saving import Saving
from deployd.drone.scratch import Scratch
from deployd.drone.service import Crew, Drone, Events
from deployd.drone.steps import Steps
from deployd.drone.surroundings import REGISTRY_PORT, Surroundings
from deployd.drone.tasks import run_task
from deployd.drone.users import OPEN, Users
from deployd.errors import DeploydError, Refused
from deployd.git.disk import delete_tree
from deployd.git.limits import GitLimits
from deployd.git.mirror.mirrors import LANES, Mirrors
from deployd.git.work.pool import MEMORY, Pool
from deployd.git.work.spawning import spawner
from deployd.net.addresses import client_endpoint, client_endpoints, roots_of
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.planning.reconcile import CheckoutKey
from deployd.processes import delegation
from deployd.processes.census import Census, Session
from deployd.processes.custody import Custody
from deployd.processes.ending import end
from deployd.processes.environment import SYSTEM_PATH
from deployd.processes.hardening import make_undumpable
from deployd.processes.ports import Ports
from deployd.processes.streams import Streams

_STOP = 1.0
"""Seconds that git's workers have to end what they do: it is done again after the next start."""


class DroneDaemon(DaemonService):
    """``twistd deployd-drone``; the drone itself is in ``deployd.drone.service``."""

    options: DroneOptions

    def __init__(self, reactor: Any, options: DroneOptions) -> None:
        super().__init__(reactor, options)
        self._program = f"deployd-drone {deployd.__version__}"
        self._processes = Threads(reactor, "processes", 4)
        self._git = Pool(reactor, spawner(reactor, MEMORY), LANES)
        self._files = Threads(reactor, "checkouts", 2)
        # Their own: large trees take long, and no stop should wait for that.
        self._disk = Threads(reactor, "disk", 2)
        # One: what is saved later must be on disk later.
        self._writing = Threads(reactor, "journal", 1)
        # One too: who reads on goes on where the last look was.
        self._reading = Threads(reactor, "logs", 1)
        self._keeping = Keeping(reactor, KeeperProcess(reactor, options.state_dir, options.log_budgets))
        self._table = PortTable(self._registry)
        self._addresses = Addresses(reactor, self._processes.run)
        self._census = Census(self._processes.run, self._spared)
        self._app_ports = Ports(*options.ports, reactor, start=random.randrange(65536))
        self._refused = False
        if options.app_users is not None:
            # From the first moment: apps of an earlier life may be running.
            self.state.mode = OPEN

    def begin(self) -> None:
        make_undumpable()
        # What is there now stays, and what comes is mostly not in cycles: looking for them was a tenth of many starts.
        gc.freeze()
        gc.set_threshold(10_000, 20, 10)
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
        self._isolation = self._isolate({entry.line.id for entry in contents.entries})
        self._saving = Saving(self.reactor, self._journal, self._writing.run)
        for threads in (self._processes, self._files, self._disk, self._writing, self._reading):
            threads.start()
        self._drone = self._assemble(known=contents.facts.get("accepted") == self.options["name"])
        # The first look loads a library, for which the first deploy need not wait.
        self._not_now(Deferred.fromCoroutine(self._addresses.get()))
        self._not_now(self._checkouts.clean())
        self._builds.recall()
        self._room.open(self._checkouts, self._builds)
        self._configs.clean({CheckoutKey.of(entry.line) for entry in contents.entries} | self._checkouts.keys())
        self._drone.dial(self._dial(self.options["hub"], HUB_PORT, "drone"))
        # Only the keeper knows what runs, so nothing is begun before it has said so.
        self._not_now(self._keeping.begin().addCallback(lambda _: self._recall(contents)))

    def stopService(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._drone.parent is not None:
            await self._drone.disownServiceParent()
        self._prefetching.close()
        self._room.close()
        await self._builds.close()
        self._logs.close()
        await self._runs.close()
        if self.options["on-stop"] == "stop":
            self._log.info("stopping the apps")
            await self._instances.stop_all()
            await self._table.leave()
            await self._keeping.quit()
            self._isolation.groups.clean(())
        else:
            self._instances.leave_all()
            await self._table.hang_up()
            await self._keeping.leave()
        self._checkouts.close()
        await self._git.stop(_STOP)
        self._app_ports.close()
        await self._saving.close()
        await super().stopService()

    def _recall(self, contents: Contents) -> None:
        # In one turn of the reactor: what stands in the port table is in the first words to the registry.
        self._surroundings.recall(contents.facts)
        self._instances.recall(contents)
        self._drone.setServiceParent(self)

    def _assemble(self, known: bool) -> Drone:
        options, reactor = self.options, self.reactor
        tree = Tree(self.state.path)
        drone: Drone
        mirrors = Mirrors(self._git.run, GitLimits(), roots_of(options["hub"]))
        self._room = Room(
            reactor,
            self._disk.run,
            tree.top,
            lambda: size_of(tree.top / "checkouts"),
            options.disk_reserve,
            options.cache_budget,
        )
        self._checkouts = Checkouts(
            reactor,
            tree,
            self._files.run,
            lambda app: drone.source(app),
            mirrors,
            self._room,
            self._made,
            lambda key: self._builds.leave(key),
        )
        self._configs = Configs(
            self.state.path,
            self._processes.run,
            lambda line: drone.config(line),
            lambda: self._instances.revision.epoch,
        )
        self._prefetching = Prefetching(self._checkouts)
        self._surroundings = Surroundings(
            reactor, self._table, options["registry"], options["advertise"], self._note, self._read_token
        )
        reporting = Reporting(reactor, lambda: (self._instances.revision, self._instances.observed()))
        log_files = LogFiles(self.state.path / "logs")
        self._builds = self._builder(log_files)
        self._means = means = self._gather(log_files)
        self._instances = Instances(
            means, self._saving, self._checkouts, lambda key: self._configs.forget(key), reporting.changed
        )
        self._logs = LogFollowing(reactor, self._reading.run, log_files)
        self._runs = Runs(means, partial(Streams, reactor))
        crew = Crew(
            self._instances, self._prefetching, self._surroundings, self._table, reporting, self._logs, self._runs
        )
        description = options.described(self._identity.owner, self._isolation.enforced())
        drone = Drone(description, options["advertise"], crew, Events(self._accepted, self._refuse), known)
        PortWatch(means, self._instances.all).setServiceParent(drone)
        disk = LimitedDisk(self._disk.run, self._room.left, tree.checkout)
        LimitWatch(means, self._census, disk, self._instances.all).setServiceParent(drone)
        return drone

    def _builder(self, log_files: LogFiles) -> Builds:
        reactor, to_thread = self.reactor, self._disk.run
        caches = Caches(self.state.path / "caches")
        steps = Steps(
            reactor,
            caches,
            lambda launch, within: run_task(self._keeping, reactor, self._end, launch, within),
            lambda id: self._end(id, None, 0.0),
            lambda log, lines: log_files.tail(log, lines=lines),
            self._isolation,
            to_thread,
            SYSTEM_PATH,
        )
        return Builds(reactor, self._checkouts, caches, steps, self._room, to_thread)

    def _gather(self, log_files: LogFiles) -> Means:
        reactor, processes = self.reactor, self._processes.run
        return Means(
            reactor=reactor,
            wall=time.time,
            drone=self.options["name"],
            to_thread=processes,
            keeper=self._keeping,
            checks=Checks(reactor),
            custody=Custody(processes, self._spared),
            end=self._end,
            ports=self._app_ports,
            checkouts=self._checkouts,
            configs=self._configs,
            builds=self._builds,
            scratch=Scratch(self.state.path / "tmp", self._delete_later),
            isolation=self._isolation,
            rows=self._table,
            place=self._surroundings.place,
            addresses=self._addresses.get,
            save=self._saving.save,
            tail=log_files.tail,
            jitter=random.random,
            path=SYSTEM_PATH,
        )

    def _delete_later(self, path: Path) -> None:
        """From whatever thread."""
        self.reactor.callFromThread(self._disk.run, delete_tree, path)

    def _isolate(self, known: Collection[str]) -> Isolation:
        """What keeps the apps apart from now on. Raise Refused."""
        name = f"deployd-{sha256(self._identity.owner.encode()).hexdigest()[:12]}"
        groups = delegation.find(name, self.options["cgroup"])
        groups.clean(known)
        if self.options.app_users is None:
            return Isolation(groups)
        users = Users(*self.options.app_users, self.state.path)
        users.open()
        return Isolation(groups, users)

    def _spared(self) -> Collection[int]:
        """The keeper bears the mark of whatever it started last, and is no process of an app."""
        return {self._keeping.pid}

    def _end(self, id: str, session: Session, grace: float, signum: int = SIGTERM) -> Deferred[None]:
        return end(self.reactor, self._census, id, session, grace, signum)

    def _registry(self, terms: RegistryTerms) -> OwnedRows:
        endpoint, shown = client_endpoints(self.reactor, terms.address, REGISTRY_PORT)
        dial = Dial(self.reactor, endpoint, shown, self._credentials("register"))
        return OwnedRows(dial=dial, name=self.options["name"], credential=terms.credential, advertise=terms.host)

    def _dial(self, address: str, port: int, purpose: str) -> Dial:
        endpoint, shown = client_endpoint(self.reactor, address, port)
        return Dial(self.reactor, endpoint, shown, self._credentials(purpose))

    def _credentials(self, purpose: str) -> Credentials:
        return Credentials(self._program, purpose, self.options.secret, self._identity)

    def _read_token(self) -> str:
        return self.options.secret.read_token() if self.options.secret else ""

    def _note(self, **facts: str) -> Deferred[None]:
        return self._saving.note(**facts)

    def _made(self) -> None:
        self._instances.look_again()
        self._prefetching.go_on()

    def _accepted(self) -> None:
        self._not_now(self._note(accepted=self.options["name"]))
        # A disk that is full keeps the drone not from its hub.
        self._not_now(self._writing.run(self.state.publish_addresses))

    def _refuse(self, error: DeploydError) -> None:
        if not self._refused:
            self._refused = True
            self.fail(error)

    def _not_now(self, work: Deferred[Any]) -> None:
        """Nobody waits for it."""
        work.addErrback(self._not_done)

    def _not_done(self, failure: Failure) -> None:
        if failure.check(DeploydError, OSError):
            self._log.warn("{error}", error=failure.value)
        elif not failure.check(CancelledError):
            self._log.failure("in the drone", failure=failure)
