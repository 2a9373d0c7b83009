"""The life of a drone as a machine (docs/state-machines.md draws it)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from deployd.machines import Transition, machine


class Inputs(Protocol):
    def recalled(self) -> None:
        """All that earlier lives of the drone have left is known."""

    def look(self) -> None:
        """What there is, or what it should be, has changed."""

    def stop(self) -> None:
        """The drone ends, and its apps with it."""

    def leave(self) -> None:
        """The drone ends, and its apps go on."""


class Effects(Protocol):
    def enter(self, state: str) -> None: ...
    def take_steps(self) -> None: ...
    def end_all(self) -> None: ...
    def let_go(self) -> None: ...


STATES = ("recalling", "following", "stopping", "leaving")

TRANSITIONS: tuple[Transition, ...] = (
    ("recalling", "recalled", "following", Effects.take_steps),
    ("recalling", "stop", "stopping", Effects.end_all),
    ("recalling", "leave", "leaving", Effects.let_go),
    ("following", "look", "following", Effects.take_steps),
    ("following", "stop", "stopping", Effects.end_all),
    ("following", "leave", "leaving", Effects.let_go),
    ("stopping", "leave", "leaving", Effects.let_go),
)

Course: Callable[[Effects], Inputs] = machine(Inputs, Effects, STATES, TRANSITIONS)
