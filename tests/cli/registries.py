"""A Cluster of deployctl that leads to a registry over iosim, and owners who register there."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from deployd.cli.cluster import Cluster
from deployd.cli.settings import Settings
from deployd.client.owner import OwnedRows
from deployd.model.registration import Registration
from deployd.net.identity import Identity
from tests.client.network import SECRET, Network


def row(name: str, **more: Any) -> Registration:
    values: dict[str, Any] = {"namespace": "default", "role": "http", "host": "", "port": 8080, "version": "1.2.3"}
    return Registration(name, **values | more)


class RegistryBench:
    """A registry, the way to it, and a Cluster with ``seconds`` to go."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.network = Network()
        self.clock = self.network.clock
        self._owners: list[OwnedRows] = []
        self._working: list[Deferred[Any]] = []
        self.cluster = self.cluster_with(seconds)

    def cluster_with(self, seconds: float) -> Cluster:
        settings = Settings(registry="registry:6000", secret=SECRET)
        return Cluster(self.clock, settings, seconds, lambda reactor, text, port: (self.network, text))

    def owner(self, name: str = "owner", identity: Identity | None = None) -> OwnedRows:
        dial = self.network.dial("register", identity or Identity.create())
        owned = OwnedRows(dial=dial, name=name, credential=b"")
        owned.startService()
        self._owners.append(owned)
        self.network.flush()
        return owned

    def put(self, owned: OwnedRows, *rows: Registration) -> None:
        for each in rows:
            owned.put(each)
            self.network.flush()

    def free(self, owned: OwnedRows, name: str) -> None:
        owned.free(name)
        self.network.flush()

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Begin; what is said at once is delivered."""
        working = Deferred.fromCoroutine(work)
        self._working.append(working)
        self.network.flush()
        return working

    def close(self) -> None:
        for owned in self._owners:
            owned.stopService()
        for working in self._working:
            working.cancel()
            working.addErrback(lambda failure: failure.trap(CancelledError))
        self.network.cut()
