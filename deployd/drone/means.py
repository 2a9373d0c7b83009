"""What every instance of a drone works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.model.instance import AssignedInstance
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.role import Check
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.custody import Custody
from deployd.processes.ending import ToThread
from deployd.processes.exits import Exit
from deployd.processes.ports import Ports
from deployd.processes.readiness import Connect
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held, Launch


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


class Configs(Protocol):
    """The environments of releases, kept sealed on this drone (deployd.drone.configs)."""

    def values(self, line: AssignedInstance) -> Deferred[dict[str, str]]:
        """The app's config as of the line's release, and the own environment of an extra above it.

        Fails with Outage while the hub, which alone knows them, is away.
        """
        ...


class Builds(Protocol):
    """What the build steps of releases make (deployd.drone.building)."""

    def ensure(
        self, line: AssignedInstance, checkout: Path, config: Mapping[str, str], say: Callable[[str], None]
    ) -> Deferred[None]:
        """Fires once all steps of the line's release are done in ``checkout``; ``say`` hears how far they are.

        Fails with BuildFailed, whose ``tail`` is the last output. Cancelling only stops waiting.
        """
        ...


class Keeper(Protocol):
    """The process that is the apps' parent, and outlives the drone (deployd.drone.keeping).

    ``exited`` is called once, never before ``start`` has fired; with neither code nor signal when the keeper has died.
    """

    def start(self, launch: Launch, exited: Callable[[Exit], None]) -> Deferred[Held]:
        """Fires once it runs. Fails with Refused where it cannot be started, Outage where there is no keeper."""
        ...

    def attach(
        self, launch: Launch, descriptors: tuple[int, int, int], exited: Callable[[Exit], None]
    ) -> Deferred[Held]:
        """As ``start``, with these for its stdin, stdout and stderr; they stay the caller's, too."""
        ...

    def take_over(self, id: str, exited: Callable[[Exit], None]) -> Held | None:
        """What an earlier life of the drone has started; one that has ended says so itself. None: nothing is held."""
        ...

    def forget(self, id: str) -> None:
        """How it ended is saved, or nobody wants to know."""
        ...

    def unlisten(self, id: str) -> None:
        """Nothing of ``id`` will be started soon: its listening socket may go."""
        ...


@frozen
class Outcome:
    """Of one check; ``text`` says what it met, for people: ``connection refused``, ``status 500``."""

    passed: bool
    text: str = ""


class Checks(Protocol):
    """Asks whether apps are well (deployd.drone.checking)."""

    def ask(self, check: Check, bind: tuple[str, int], run: Callable[[], Deferred[Exit]]) -> Deferred[Outcome]:
        """Ask once, within the check's timeout; ``run`` runs the command of an ``exec`` check."""
        ...


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
