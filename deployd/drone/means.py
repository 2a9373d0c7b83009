"""What every instance of a drone works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.custody import Custody
from deployd.processes.ending import ToThread
from deployd.processes.ports import Ports
from deployd.processes.readiness import Connect
from deployd.processes.trees import ProcessRef


@frozen
class Place:
    """Where apps run, as they are told: the host of their rows, and the registry's addresses (AMP, HTTP URL)."""

    host: str
    registry: str
    registry_url: str


class Rows(Protocol):
    """The drone's rows in the port table; the answers are the registry's revision since which that is so."""

    def put(self, row: Registration) -> Deferred[Revision]: ...
    def free(self, id: str) -> Deferred[Revision]: ...


class Checkouts(Protocol):
    def ensure(self, key: CheckoutKey) -> Deferred[Path]: ...


class Output(Protocol):
    """Where one instance prints: ``open`` gives a descriptor for a process that starts now (the caller closes it),
    ``tail`` what that has printed last, for people. ``tail`` blocks."""

    def open(self) -> int: ...
    def tail(self) -> str: ...


Save = Callable[[str, int, int, str, int], Deferred[None]]
"""Saves (id, port, pid, created, restarts) of a process that was started."""

End = Callable[[str, ProcessRef | int | None, float], Deferred[None]]
"""Ends (instance id, session, grace in seconds) as ``deployd.processes.ending.end`` does."""


@frozen
class Means:
    """``reactor`` is clock and spawner in one; ``jitter`` gives numbers from 0 to 1; ``output`` a place for the output
    of the instance with that id; ``path`` is the apps' PATH."""

    reactor: Any
    drone: str
    to_thread: ToThread
    connect: Connect
    custody: Custody
    end: End
    ports: Ports
    checkouts: Checkouts
    rows: Rows
    place: Callable[[], Deferred[Place]]
    save: Save
    output: Callable[[str], Output]
    jitter: Callable[[], float]
    path: str
