"""A release: an app at a commit, numbered per app, and where it should run."""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from deployd.model.invalid import Invalid
from deployd.model.role import BuildStep, RoleCommand


class ReleaseState(Enum):
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    FAILED = "failed"
    RETIRING = "retiring"
    RETIRED = "retired"

    @property
    def wanted(self) -> bool:
        """Whether drones should run it."""
        return self in (ReleaseState.DEPLOYING, ReleaseState.DEPLOYED)


@frozen
class Selector:
    """Which drones: all (when both are empty), those named, and those that have every label of one ``where`` entry.

    Repeated deploys add up: a drone is selected when any part names it.
    """

    every: bool = True
    names: frozenset[str] = frozenset()
    where: tuple[tuple[tuple[str, str], ...], ...] = ()

    def selects(self, name: str, labels: dict[str, str]) -> bool:
        return (
            self.every
            or name in self.names
            or any(all(labels.get(key) == value for key, value in pairs) for pairs in self.where)
        )

    def plus(self, other: Selector) -> Selector:
        """This selection and ``other``'s together."""
        where = self.where + tuple(pairs for pairs in other.where if pairs not in self.where)
        return Selector(self.every or other.every, self.names | other.names, where)


@frozen
class Need:
    """How many of the chosen drones must be ready: ``all``, ``N`` or ``P%``."""

    text: str = "all"

    @classmethod
    def parse(cls, text: str) -> Need:
        digits = text.removesuffix("%")
        if text == "all":
            return cls(text)
        if not (digits.isascii() and digits.isdigit() and len(digits) < 7) or int(digits) == 0:
            raise Invalid(f"{text[:40]!r} is not a need: write 'all', a number of drones from 1, or a share like 75%")
        if text.endswith("%") and int(digits) > 100:
            raise Invalid(f"{text!r} is more than all drones")
        return cls(text)

    def count(self, drones: int) -> int:
        """Of ``drones`` chosen ones, how many must be ready; a share is rounded up."""
        if self.text == "all":
            return drones
        if self.text.endswith("%"):
            return -(-drones * int(self.text[:-1]) // 100)
        return int(self.text)


@frozen
class DroneStatus:
    """How one chosen drone stands with a release: ``state`` is ``ready pending failed away nothing``.

    ``reason`` is a sentence, ``tail`` the last output of what failed there.
    """

    drone: str
    state: str
    reason: str = ""
    tail: str = ""


@frozen
class Hook:
    """The command that runs once per release, before anything else of it starts, and how far that is.

    ``drone`` is the name of the one that runs it in the present attempt, "" until one is chosen, and ``owner`` its
    identity: another machine may get the name. ``done``: it has ended well there.
    """

    command: RoleCommand
    drone: str = ""
    owner: str = ""
    done: bool = False


@frozen
class Release:
    """``roles`` is what the commit's Procfile and ``deployd.toml`` say (None: they name no command).

    ``settings``, ``build`` and ``hook`` are of its ``deployd.toml`` too (deployd.model.manifest). ``config`` is the
    revision of the app's config that belongs to it, 0 for an empty one.

    ``attempt`` grows when it is deployed again from nothing: its instances then start anew. ``timeout`` (seconds) is
    how long drones have to become ready; ``patient``: what they spend on builds and the release command, which have
    timeouts of their own, does not count. ``settled`` is the selection that an earlier deploy of it reached while it is
    deployed once more: a failure goes back to that instead of taking down what ran. ``asked`` are the drones that the
    last deploy of it asked for, by which it is judged (None: all of ``selector``). ``reason`` and ``outcome`` tell of
    the last deploy of it that failed. ``good`` is when a deploy of it succeeded last (seconds since 1970; None: never).
    ``pinned``: it is not retired, until that is taken back. ``intent`` is that of the push that asked for it last
    (Note [Refs, then the deploy] in deployd.git.intents).
    """

    app: str
    number: int
    commit: str
    state: ReleaseState
    created: float
    selector: Selector = field(factory=Selector)
    need: Need = field(factory=Need)
    roles: tuple[RoleCommand, ...] | None = None
    reason: str = ""
    attempt: int = 0
    timeout: float = 120.0
    patient: bool = False
    settled: Selector | None = None
    asked: Selector | None = None
    outcome: tuple[DroneStatus, ...] = ()
    good: float | None = None
    pinned: bool = False
    settings: tuple[RoleCommand, ...] = ()
    build: tuple[BuildStep, ...] = ()
    hook: Hook | None = None
    config: int = 0
    intent: str = ""

    @property
    def name(self) -> str:
        return f"v{self.number}"

    @property
    def held_up(self) -> bool:
        """Whether nothing of it may start yet but its release command."""
        return self.hook is not None and not self.hook.done

    @property
    def key(self) -> tuple[str, int]:
        return self.app, self.number
