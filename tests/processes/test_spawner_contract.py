"""FakeSpawner passes the suite that the real reactor passes (tests/integration/test_processes_contract.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.running import AppProcess
from deployd.testing.spawner import FakeProcess, FakeSpawner
from tests.processes import spawner_contract as contract


class FakeWorld:
    """Whatever must come has come."""

    def __init__(self, outputs: Path) -> None:
        self.spawner = FakeSpawner()
        self.directory = "/checkout"
        self.outputs = outputs

    def play(self, process: AppProcess, acts: Callable[[FakeProcess], None]) -> None:
        acts(next(fake for fake in self.spawner.processes if fake.pid == process.pid))

    async def until(self, condition: Callable[[], bool]) -> None:
        self.spawner.advance(0)
        assert condition()

    async def a_while(self) -> None:
        self.spawner.advance(10)


class FakeSpawnerContractTests(SynchronousTestCase):
    def check(self, case: Callable[[contract.World], object]) -> None:
        outputs = Path(self.mktemp())
        outputs.mkdir()
        self.successResultOf(Deferred.fromCoroutine(case(FakeWorld(outputs))))  # type: ignore[arg-type]


def _test(case: Callable[[contract.World], object]) -> Callable[[FakeSpawnerContractTests], None]:
    def test(self: FakeSpawnerContractTests) -> None:
        self.check(case)

    test.__doc__ = case.__doc__
    return test


for _case in contract.CONTRACT:
    setattr(FakeSpawnerContractTests, f"test_{_case.__name__}", _test(_case))
