"""A Cluster of deployctl that leads to a scripted hub."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from deployd.cli.cluster import Cluster
from deployd.cli.settings import Settings
from deployd.net.secret import Secret
from tests.cli.scripted_hub import SECRET, MemoryEndpoint, ScriptedHub


class Bench:
    """A hub, the way to it, and a Cluster with ``seconds`` to go."""

    def __init__(self, seconds: float = 10.0, secret: Secret | None = SECRET, **script: Any) -> None:
        self.clock = Clock()
        self.hub = ScriptedHub(self.clock, **script)
        self.way = MemoryEndpoint(self.clock, self.hub)
        settings = Settings(hub="hubhost:6001", secret=secret)
        self.cluster = Cluster(self.clock, settings, seconds, lambda reactor, text, port: (self.way, text))

    def start(self, work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Begin; what is said at once is delivered."""
        working = Deferred.fromCoroutine(work)
        self.way.flush()
        return working

    def change(self, **values: Any) -> None:
        self.hub.change(**values)
        self.way.flush()
