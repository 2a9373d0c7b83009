"""The life of one instance as a machine (docs/state-machines.md draws it).

``TRANSITIONS`` is the whole of it: in which state, upon what, to which state, and what is begun there. Whatever is not
in it leaves the state as it is: a command that is already being followed, and news of what no longer matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from automat import TypeMachineBuilder

from deployd.drone.problem import Problem
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

    def ended(self) -> None:
        """No process of it is left."""

    def due(self) -> None:
        """It has waited long enough since it failed."""

    def prepared(self) -> None:
        """Its checkout, port and environment are there."""

    def failed(self, problem: Problem) -> None:
        """It cannot be started, did not become ready in time, or somebody else is on its port."""

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
    def spawn(self) -> None: ...
    def watch(self) -> None: ...
    def register(self) -> None: ...
    def rejoice(self) -> None: ...
    def deregister(self) -> None: ...
    def end(self) -> None: ...
    def rest(self) -> None: ...
    def mourn(self, how: Exit) -> None: ...
    def bury(self, how: Exit) -> None: ...
    def give_up(self, problem: Problem) -> None: ...


REPORTED = {
    "new": State.WAITING,
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
}
"""Every state of the machine, the first one first, and how it is reported."""

_WITHOUT_PROCESS = ("sweeping", "backoff", "fetching")
_WITH_PROCESS = ("starting", "registering", "ready")

TRANSITIONS: tuple[tuple[str, str, str, Callable[..., None] | None], ...] = (
    # An earlier life of the drone may have left processes, so even a new instance sweeps first.
    ("new", "run", "sweeping", Effects.sweep),
    ("new", "restart", "sweeping", Effects.sweep),
    ("new", "drain", "stopping", Effects.end),
    ("new", "stop", "stopping", Effects.end),
    ("sweeping", "ended", "backoff", Effects.wait),
    ("backoff", "due", "fetching", Effects.prepare),
    ("backoff", "restart", "fetching", Effects.prepare),
    ("fetching", "restart", "fetching", Effects.prepare),
    ("fetching", "prepared", "starting", Effects.spawn),
    ("fetching", "failed", "sweeping", Effects.give_up),
    ("starting", "passed", "registering", Effects.register),
    ("starting", "failed", "sweeping", Effects.give_up),
    ("registering", "registered", "ready", Effects.rejoice),
    *((state, "failed", "sweeping", Effects.give_up) for state in ("registering", "ready")),
    *((state, "exited", "sweeping", Effects.mourn) for state in _WITH_PROCESS),
    *((state, "restart", "restarting", Effects.end) for state in (*_WITH_PROCESS, "draining")),
    *((state, "drain", "draining", Effects.deregister) for state in _WITH_PROCESS),
    *((state, "stop", "stopping", Effects.end) for state in (*_WITH_PROCESS, "draining")),
    *((state, told, "stopping", Effects.end) for state in _WITHOUT_PROCESS for told in ("drain", "stop")),
    # Drained and wanted again: it still runs, so its check and its row are all that it needs.
    ("draining", "run", "starting", Effects.watch),
    ("draining", "exited", "stopping", Effects.bury),
    ("stopping", "ended", "stopped", Effects.rest),
    ("stopping", "run", "restarting", None),
    ("stopping", "restart", "restarting", None),
    ("restarting", "ended", "fetching", Effects.prepare),
    ("restarting", "drain", "stopping", None),
    ("restarting", "stop", "stopping", None),
    ("stopped", "run", "fetching", Effects.prepare),
    ("stopped", "restart", "fetching", Effects.prepare),
)


def _transition(state: str, effect: Callable[..., None] | None) -> Callable[..., None]:
    def enter(machine: Any, core: Any, *arguments: Any) -> None:
        core.enter(state)
        if effect is not None:
            getattr(core, effect.__name__)(*arguments)

    return enter


def _build() -> Any:
    builder: Any = TypeMachineBuilder(Inputs, Effects)
    states = {name: builder.state(name) for name in REPORTED}
    inputs = {name: method for name, method in vars(Inputs).items() if callable(method) and not name.startswith("_")}
    written = set()
    for old, told, new, effect in TRANSITIONS:
        states[old].upon(inputs[told]).to(states[new])(_transition(new, effect))
        written.add((old, told))
    for old, state in states.items():
        for told, method in inputs.items():
            if (old, told) not in written:
                state.upon(method).loop().returns(None)
    return builder.build()


Machine: Callable[[Effects], Inputs] = _build()
