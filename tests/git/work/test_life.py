"""The machine of a worker, and its diagram."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.work.life import STATES, TRANSITIONS, Inputs, Machine
from tests.drone.test_machine import Recorder, drawn

INPUTS = sorted(name for name in vars(Inputs) if not name.startswith("_"))


class LifeTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(INPUTS), max_size=20))
    def test_handles_every_input_in_every_state_as_its_table_says(self, told: list[str]) -> None:
        recorder = Recorder()
        machine: Any = Machine(recorder)  # type: ignore[arg-type]
        recorder.state = expected = STATES[0]
        table = {(old, name): new for old, name, new, _ in TRANSITIONS}
        for name in told:
            getattr(machine, name)()
            expected = table.get((expected, name), expected)
            self.assertEqual(recorder.state, expected)

    def test_reaches_every_state_and_ends_from_each(self) -> None:
        reached = {STATES[0]}
        while more := {new for old, _, new, _ in TRANSITIONS if old in reached} - reached:
            reached |= more
        self.assertEqual(reached, set(STATES))
        self.assertEqual({old for old, name, _, _ in TRANSITIONS if name == "exited"}, set(STATES) - {"gone"})

    def test_begins_a_job_only_when_it_is_idle(self) -> None:
        self.assertEqual({old for old, name, _, _ in TRANSITIONS if name == "begin"}, {"idle"})

    def test_its_diagram_shows_exactly_its_transitions(self) -> None:
        self.assertEqual(drawn("A git worker"), {(old, name, new) for old, name, new, _ in TRANSITIONS})
