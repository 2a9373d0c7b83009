"""What every instance of a drone works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.drone.isolation import Isolation
from deployd.drone.life import Life
from deployd.drone.scratch import Scratch
from deployd.model.instance import AssignedInstance
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.role import Check
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.custody import Custody
from deployd.processes.ending import ToThread
from deployd.processes.exits import Exit
from deployd.processes.ports import Ports
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

    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]:
        """``standing``: an earlier life of the drone has put it, and not for a moment should it be away."""
        ...

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

    def held(self) -> Iterable[Held]:
        """All that is not forgotten, living or not."""
        ...

    def forget(self, id: str) -> None:
        """How it ended is saved, or nobody wants to know."""
        ...

    def unlisten(self, id: str) -> None:
        """Nothing of ``id`` will be started soon: its listening socket may go."""
        ...

    def remark(self, log: str, words: str) -> None:
        """Write ``words``, made one line, into that log, soon; it is lost when that cannot be done."""
        ...


@frozen
class Outcome:
    """Of one check; ``text`` says what it met, for people: ``connection refused``, ``status 500``."""

    passed: bool
    text: str = ""


class Checks(Protocol):
    """Asks whether apps are well (deployd.drone.checks)."""

    def ask(
        self, app: str, check: Check, bind: tuple[str, int], run: Callable[[], Deferred[Exit]]
    ) -> Deferred[Outcome]:
        """Ask once, within the check's timeout; ``run`` runs the command of an ``exec`` check."""
        ...


Save = Callable[[str, Life], Deferred[None]]
"""Saves what must be known of the process of an instance."""


class End(Protocol):
    def __call__(
        self, id: str, session: ProcessRef | int | None, grace: float, signum: int = SIGTERM
    ) -> Deferred[None]:
        """End all of an instance as ``deployd.processes.ending.end`` does; ``grace`` in seconds."""
        ...


@frozen
class Means:
    """``reactor`` is the clock, ``wall`` gives seconds since 1970; ``jitter`` gives numbers from 0 to 1. ``addresses``
    are this machine's. ``tail`` blocks: the last lines of the log with that name since a time. ``path`` is the apps'
    PATH."""

    reactor: Any
    wall: Callable[[], float]
    drone: str
    to_thread: ToThread
    keeper: Keeper
    checks: Checks
    custody: Custody
    end: End
    ports: Ports
    checkouts: Checkouts
    configs: Configs
    builds: Builds
    scratch: Scratch
    isolation: Isolation
    rows: Rows
    place: Callable[[], Deferred[Place]]
    addresses: Callable[[], Awaitable[frozenset[str]]]
    save: Save
    tail: Callable[[str, float], str]
    jitter: Callable[[], float]
    path: str
