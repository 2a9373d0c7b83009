"""The life of one instance as a machine (docs/state-machines.md draws it).

``TRANSITIONS`` is the whole of it: in which state, upon what, to which state, and what is begun there. Whatever is not
in it leaves the state as it is: a command that is already being followed, and news of what no longer matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from deployd.drone.problem import Problem
from deployd.machines import Transition, machine
from deployd.model.instance import State
from deployd.processes.exits import Exit


class Inputs(Protocol):
    """What an instance is told (the first four), and what it meets."""

    def run(self) -> None:
        """It should run; says nothing to one that runs or tries to."""

    def restart(self) -> None:
        """It should run, but not as the process that it is."""

    def drain(self) -> None:
        """It should be gone from the port table; what runs goes on."""

    def stop(self) -> None:
        """Nothing of it should be left."""

    def found(self) -> None:
        """The keeper has a process of it, from an earlier life of the drone."""

    def ended(self) -> None:
        """No process of it is left."""

    def gave_up(self) -> None:
        """No process of it is left, and it is not started again until somebody asks for it."""

    def finished(self) -> None:
        """It runs once, and has."""

    def due(self) -> None:
        """It has waited long enough since it failed."""

    def prepared(self) -> None:
        """Its checkout, port and environment are there."""

    def failed(self, problem: Problem) -> None:
        """It cannot be started, did not become ready in time, is not well, or somebody else is on its port."""

    def passed(self) -> None:
        """It passed its check."""

    def registered(self) -> None:
        """The registry has acknowledged its row, or it needs none."""

    def exited(self, how: Exit) -> None:
        """Its process is gone."""


class Effects(Protocol):
    """What the machine makes an instance do; each begins something that ends in an input."""

    def enter(self, state: str) -> None: ...
    def sweep(self) -> None: ...
    def wait(self) -> None: ...
    def prepare(self) -> None: ...
    def launch(self) -> None: ...
    def resume(self) -> None: ...
    def watch(self) -> None: ...
    def register(self) -> None: ...
    def rejoice(self) -> None: ...
    def deregister(self) -> None: ...
    def end(self) -> None: ...
    def rest(self) -> None: ...
    def settle(self) -> None: ...
    def mourn(self, how: Exit) -> None: ...
    def bury(self, how: Exit) -> None: ...
    def fall(self, problem: Problem) -> None: ...
    def abandon(self, problem: Problem) -> None: ...


REPORTED = {
    "new": State.WAITING,
    "held": State.WAITING,
    "sweeping": State.BACKOFF,
    "backoff": State.BACKOFF,
    "fetching": State.WAITING,
    "starting": State.STARTING,
    "registering": State.REGISTERING,
    "ready": State.READY,
    "draining": State.DRAINING,
    "stopping": State.STOPPING,
    "restarting": State.STOPPING,
    "stopped": State.STOPPED,
    "failed": State.FAILED,
    "done": State.DONE,
}
"""Every state of the machine, the first one first, and how it is reported."""

_WITH_PROCESS = ("starting", "registering", "ready")
_WITHOUT_PROCESS = ("sweeping", "backoff", "fetching", "failed", "done")

TRANSITIONS: tuple[Transition, ...] = (
    ("new", "run", "sweeping", Effects.sweep),
    ("new", "restart", "sweeping", Effects.sweep),
    ("new", "drain", "stopping", Effects.end),
    ("new", "stop", "stopping", Effects.end),
    ("new", "found", "held", None),
    ("new", "failed", "sweeping", Effects.fall),
    ("held", "run", "starting", Effects.resume),
    ("held", "restart", "restarting", Effects.end),
    ("held", "drain", "draining", Effects.deregister),
    ("held", "stop", "stopping", Effects.end),
    ("held", "exited", "sweeping", Effects.mourn),
    ("sweeping", "ended", "backoff", Effects.wait),
    ("sweeping", "gave_up", "failed", Effects.settle),
    ("sweeping", "finished", "done", Effects.settle),
    ("backoff", "due", "fetching", Effects.prepare),
    ("backoff", "restart", "fetching", Effects.prepare),
    ("fetching", "restart", "fetching", Effects.prepare),
    ("fetching", "prepared", "starting", Effects.launch),
    ("fetching", "failed", "sweeping", Effects.fall),
    ("starting", "passed", "registering", Effects.register),
    ("registering", "registered", "ready", Effects.rejoice),
    *((state, "failed", "sweeping", Effects.fall) for state in _WITH_PROCESS),
    *((state, "exited", "sweeping", Effects.mourn) for state in _WITH_PROCESS),
    *((state, "restart", "restarting", Effects.end) for state in (*_WITH_PROCESS, "draining")),
    *((state, "drain", "draining", Effects.deregister) for state in _WITH_PROCESS),
    *((state, "stop", "stopping", Effects.end) for state in (*_WITH_PROCESS, "draining")),
    *((state, told, "stopping", Effects.end) for state in _WITHOUT_PROCESS for told in ("drain", "stop")),
    # Drained and wanted again: it still runs, so its check and its row are all that it needs.
    ("draining", "run", "starting", Effects.watch),
    ("draining", "exited", "stopping", Effects.bury),
    ("draining", "failed", "stopping", Effects.abandon),
    ("stopping", "ended", "stopped", Effects.rest),
    ("stopping", "run", "restarting", None),
    ("stopping", "restart", "restarting", None),
    ("restarting", "ended", "fetching", Effects.prepare),
    ("restarting", "drain", "stopping", None),
    ("restarting", "stop", "stopping", None),
    *((state, "restart", "fetching", Effects.prepare) for state in ("stopped", "failed", "done")),
    ("stopped", "run", "fetching", Effects.prepare),
)

Machine: Callable[[Effects], Inputs] = machine(Inputs, Effects, tuple(REPORTED), TRANSITIONS)
