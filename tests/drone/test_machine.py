"""The machine of an instance, and its diagram."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone import course
from deployd.drone.machine import REPORTED, TRANSITIONS, Inputs, Machine
from deployd.drone.problem import Problem
from deployd.model.instance import State
from deployd.processes.exits import Exit

DOCUMENT = Path(__file__).parents[2] / "docs" / "state-machines.md"
ARGUMENTS: dict[str, tuple[Any, ...]] = {"failed": (Problem("why"),), "exited": (Exit(1),)}
INPUTS = sorted(name for name in vars(Inputs) if not name.startswith("_"))


def drawn(title: str) -> set[tuple[str, str, str]]:
    """What the diagram in the chapter of that title shows."""
    chapter = DOCUMENT.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = set()
    for old, new, names in re.findall(r"^ +(\w+) --> (\w+) : (.+)$", chapter, re.MULTILINE):
        found |= {(old, name.strip(), new) for name in names.split(",")}
    return found


class Recorder:
    """An instance that only notes what its machine asks for."""

    def __init__(self) -> None:
        self.state = "new"
        self.begun: list[str] = []

    def enter(self, state: str) -> None:
        self.state = state

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.begun.append(name)


class MachineTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(INPUTS), max_size=40))
    def test_handles_every_input_in_every_state_as_its_table_says(self, told: list[str]) -> None:
        recorder = Recorder()
        machine: Any = Machine(recorder)  # type: ignore[arg-type]
        expected = "new"
        table = {(old, name): new for old, name, new, _ in TRANSITIONS}
        for name in told:
            getattr(machine, name)(*ARGUMENTS.get(name, ()))
            expected = table.get((expected, name), expected)
            self.assertEqual(recorder.state, expected)

    def test_reaches_every_state(self) -> None:
        reached = {"new"}
        while more := {new for old, _, new, _ in TRANSITIONS if old in reached} - reached:
            reached |= more
        self.assertEqual(reached, set(REPORTED))

    def test_stops_from_every_state_without_starting_anything(self) -> None:
        ends = {old: new for old, name, new, _ in TRANSITIONS if name == "stop"}
        self.assertEqual(set(REPORTED) - set(ends), {"stopping", "stopped"})
        self.assertEqual(set(ends.values()), {"stopping"})

    def test_starts_a_process_only_after_a_sweep_or_an_end(self) -> None:
        """Whatever leads to `fetching` had no process, or has seen that none is left."""
        before = {(old, name) for old, name, new, _ in TRANSITIONS if new == "fetching"}
        without = {"backoff", "fetching", "stopped", "failed", "done"}
        self.assertTrue(all(old in without or name == "ended" for old, name in before), before)

    def test_reports_every_state_but_those_that_only_others_can_tell(self) -> None:
        """Building is a part of fetching, which the instance itself tells apart."""
        self.assertEqual(set(State) - set(REPORTED.values()), {State.ORPHAN, State.AWAY, State.BUILDING})

    def test_its_diagram_shows_exactly_its_transitions(self) -> None:
        self.assertEqual(drawn("An instance on a drone"), {(old, name, new) for old, name, new, _ in TRANSITIONS})

    def test_the_document_names_every_state_and_how_it_is_shown(self) -> None:
        rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", DOCUMENT.read_text(), re.MULTILINE))
        self.assertEqual(rows, {name: state.value for name, state in REPORTED.items()})


class CourseTests(SynchronousTestCase):
    def test_its_diagram_shows_exactly_its_transitions(self) -> None:
        self.assertEqual(drawn("A drone"), {(old, name, new) for old, name, new, _ in course.TRANSITIONS})

    def test_reaches_every_state(self) -> None:
        self.assertEqual({new for _, _, new, _ in course.TRANSITIONS} | {"recalling"}, set(course.STATES))

    @given(st.lists(st.sampled_from(["recalled", "look", "stop", "leave"]), max_size=20))
    def test_takes_no_step_before_all_is_recalled_nor_once_it_ends(self, told: list[str]) -> None:
        recorder = Recorder()
        machine: Any = course.Course(recorder)  # type: ignore[arg-type]
        for name in told:
            before, begun = recorder.state, len(recorder.begun)
            getattr(machine, name)()
            if "take_steps" in recorder.begun[begun:]:
                self.assertEqual(recorder.state, "following")
            elif before == "following":
                self.assertIn(recorder.state, ("stopping", "leaving") if name in ("stop", "leave") else ("following",))
