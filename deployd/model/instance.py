"""One process of a role of a release on a drone: as wanted, and as seen."""

from __future__ import annotations

import re
from enum import Enum
from hashlib import sha256

from attrs import field, frozen

from deployd.model.revision import Revision
from deployd.model.role import BuildStep, RoleSettings

_INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}-[0-9a-f]{10}")


class Goal(Enum):
    """What the hub wants of an instance: keep it running, let its work end, or end it."""

    RUN = "run"
    DRAIN = "drain"
    STOP = "stop"


class State(Enum):
    """What a drone sees of an instance (docs/state-machines draws how one follows another)."""

    WAITING = "waiting"  # its checkout is on the way
    BUILDING = "building"  # what its release's build command makes is on the way
    STARTING = "starting"  # runs, has not passed its check
    REGISTERING = "registering"  # passed its check, its row is not acknowledged yet
    READY = "ready"  # checked, and its row acknowledged
    BACKOFF = "backoff"  # ended or could not start; will be tried again
    DRAINING = "draining"  # its row is gone from the port table; still runs
    STOPPING = "stopping"  # being ended
    STOPPED = "stopped"  # ended as asked
    FAILED = "failed"  # given up: not started again until somebody asks for it
    DONE = "done"  # it runs once, and has ended with code 0
    ORPHAN = "orphan"  # runs, but the hub it belongs to does not know it
    AWAY = "away"  # said by the hub of an instance whose drone is not connected

    @property
    def over(self) -> bool:
        """Whether there is no process of it, and none will come by itself."""
        return self in (State.STOPPED, State.FAILED, State.DONE)


@frozen
class AssignedInstance:
    """One line of an assignment.

    ``generation`` grows with each ``restart``: a drone whose running process is of an older one starts it anew.
    ``index`` counts the instances of the role on this drone from 0. ``config`` is the revision of the app's config,
    whose values are fetched apart from it, and ``extra`` the name of what was added by ``spawn``. ``once``: it runs to
    its end, and never twice in one generation.
    """

    id: str
    app: str
    release: str
    commit: str
    role: str
    argv: tuple[str, ...]
    port: bool
    goal: Goal = Goal.RUN
    generation: int = 0
    index: int = 0
    settings: RoleSettings = field(factory=RoleSettings)
    build: tuple[BuildStep, ...] = ()
    config: int = 0
    extra: str = ""
    once: bool = False


@frozen
class ObservedInstance:
    """One line of a report.

    ``failures`` counts starts in a row that did not become ready; ``fatal`` says that trying on will not help until
    something outside changes. ``tail`` is the last output, given only while something is wrong. ``deregistered`` is
    the registry's revision since which the row is gone, once it is.
    """

    id: str
    app: str
    release: str
    commit: str
    role: str
    state: State
    host: str = ""
    port: int = 0
    pid: int = 0
    generation: int = 0
    restarts: int = 0
    failures: int = 0
    fatal: bool = False
    reason: str = ""
    tail: str = ""
    deregistered: Revision | None = None


def instance_id(owner: str, app: str, release: str, commit: str, role: str, index: int = 0, extra: str = "") -> str:
    """The id of an instance: the same for as long as the same drone plays the same role of the same release.

    With the commit: a hub that lost its state numbers another commit ``v1``, and what an earlier ``v1`` left running
    must not be taken for it.
    """
    words = [owner, app, release, commit, role]
    if index or extra:
        words += [str(index), extra]
    digest = sha256("\0".join(words).encode()).hexdigest()
    return f"{role}-{digest[:10]}"


def is_instance_id(text: str) -> bool:
    """Whether some instance may have this id."""
    return _INSTANCE_ID.fullmatch(text) is not None
