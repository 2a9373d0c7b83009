"""The whole registry does what the model does, on every store (whole_model.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.registry.places import MemoryPlace, Place, SqlitePlace
from tests.registry.whole_machine import RegistryMachine

SOAK = bool(os.environ.get("DEPLOYD_SOAK"))


class WholeModelTests(SynchronousTestCase):
    def check(self, new_place: Callable[[], Place], examples: int) -> None:
        count, steps = (examples * 20, 100) if SOAK else (examples, 50)
        run_state_machine_as_test(
            lambda: RegistryMachine(new_place),
            settings=settings(max_examples=count, stateful_step_count=steps, deadline=None),
        )

    def test_in_memory(self) -> None:
        self.check(MemoryPlace, 60)

    def test_in_sqlite(self) -> None:
        self.check(lambda: SqlitePlace(Path(self.mktemp())), 30)
