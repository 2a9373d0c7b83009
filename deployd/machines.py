"""A state machine out of the table of its transitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from automat import TypeMachineBuilder

Transition = tuple[str, str, str, Callable[..., None] | None]
"""In this state, upon this input, to that state, where this effect is begun."""


def machine(inputs: type, effects: type, states: Sequence[str], transitions: Sequence[Transition]) -> Any:
    """What makes a machine with the methods of the protocol ``inputs`` out of an object that has those of ``effects``.

    ``effects`` has ``enter`` too, which is told of each state before its effect begins. The first of ``states`` is the
    one that it begins in; an input that ``transitions`` does not have leaves the state as it is.
    """
    builder: Any = TypeMachineBuilder(inputs, effects)
    known = {name: builder.state(name) for name in states}
    methods = {name: method for name, method in vars(inputs).items() if callable(method) and not name.startswith("_")}
    written = set()
    for old, told, new, effect in transitions:
        known[old].upon(methods[told]).to(known[new])(_transition(new, effect))
        written.add((old, told))
    for old, state in known.items():
        for told, method in methods.items():
            if (old, told) not in written:
                state.upon(method).loop().returns(None)
    built = builder.build()
    # Automat looks through all transitions at each input: that was a quarter of what the start of an instance costs.
    automaton = built.__automat_automaton__
    automaton.outputForInput = cache(automaton.outputForInput)
    return built


def _transition(state: str, effect: Callable[..., None] | None) -> Callable[..., None]:
    def enter(machine: Any, core: Any, *arguments: Any) -> None:
        core.enter(state)
        if effect is not None:
            getattr(core, effect.__name__)(*arguments)

    return enter
