"""The life of a worker process as a machine (docs/state-machines.md draws it).

``TRANSITIONS`` is the whole of it; whatever is not in it leaves the state as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from deployd.machines import Transition, machine


class Inputs(Protocol):
    """What becomes of a worker."""

    def ready(self) -> None:
        """Its process says that it can work."""

    def begin(self) -> None:
        """It is given a job."""

    def done(self) -> None:
        """Its job is over, well or not."""

    def retire(self) -> None:
        """It should end as soon as it has nothing to do."""

    def kill(self) -> None:
        """It should end at once: its job takes too long, or nobody waits for it, or it does not end by itself."""

    def exited(self) -> None:
        """Its process is gone, and all that it said has been read."""


class Effects(Protocol):
    """What the machine makes a worker do."""

    def enter(self, state: str) -> None: ...
    def offer(self) -> None: ...
    def send(self) -> None: ...
    def hang_up(self) -> None: ...
    def destroy(self) -> None: ...
    def leave(self) -> None: ...


STATES = ("starting", "idle", "busy", "finishing", "retiring", "killed", "gone")
_ALIVE = ("starting", "idle", "busy", "finishing", "retiring")

TRANSITIONS: tuple[Transition, ...] = (
    ("starting", "ready", "idle", Effects.offer),
    ("starting", "retire", "retiring", Effects.hang_up),
    ("idle", "begin", "busy", Effects.send),
    ("idle", "retire", "retiring", Effects.hang_up),
    ("busy", "done", "idle", Effects.offer),
    ("busy", "retire", "finishing", None),
    ("finishing", "done", "retiring", Effects.hang_up),
    *((state, "kill", "killed", Effects.destroy) for state in _ALIVE),
    *((state, "exited", "gone", Effects.leave) for state in (*_ALIVE, "killed")),
)

Machine: Callable[[Effects], Inputs] = machine(Inputs, Effects, STATES, TRANSITIONS)
