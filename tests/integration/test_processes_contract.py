"""The real reactor passes the suite that FakeSpawner passes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from deployd.processes.running import AppProcess
from deployd.testing.spawner import FakeProcess
from tests.processes.spawner_contract import CONTRACT, World

Case = Callable[[World], Coroutine[Any, Any, None]]


class RealWorld:
    """What must come, comes within ten seconds."""

    def __init__(self, directory: Path) -> None:
        self.spawner = reactor
        self.directory = str(directory)
        self.outputs = directory

    def play(self, process: AppProcess, acts: Callable[[FakeProcess], None]) -> None:
        """The script does it."""

    async def until(self, condition: Callable[[], bool]) -> None:
        limit = reactor.seconds() + 10
        while not condition():
            assert reactor.seconds() < limit, "it never comes"
            await deferLater(reactor, 0.005)

    async def a_while(self) -> None:
        await deferLater(reactor, 0.1)


@pytest.mark.parametrize("case", CONTRACT, ids=lambda case: case.__name__)
@pytest_twisted.ensureDeferred
async def test_the_real_reactor(case: Case, tmp_path: Path) -> None:
    await case(RealWorld(tmp_path))
