"""What a ``deployd.drone.means.Keeper`` is: the fake, and the drone's link to a keeper, pass the same tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.keeping import Keeping
from deployd.drone.means import Keeper
from deployd.errors import Refused
from deployd.processes.exits import Exit
from deployd.testing.keeper import FakeKeeper
from deployd.wire.keeping import Held
from tests.keeper.house import Turns, launch
from tests.keeper.links import LinkHouse


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeKeeper(Clock())
        self.keeper: Keeper = self.fake

    def wait(self) -> None:
        """Everything that is under way arrives."""

    @property
    def remarks(self) -> list[tuple[str, str]]:
        return self.fake.remarks

    def end(self, id: str, code: int | None = 0, signal: int | None = None) -> None:
        (process,) = [process for process in self.fake.running if process.launch.id == id]
        process.exit(code, signal)

    def refuse(self) -> None:
        self.fake.refuse = Refused("it cannot be started")

    def next_life(self) -> None:
        self.fake.next_life()

    def die(self) -> None:
        self.fake.die()


class LinkedWorld:
    def __init__(self) -> None:
        self.link = LinkHouse(Turns())
        self.link.begin()
        self.keeper: Keeper = self.link.keeping

    def wait(self) -> None:
        self.link.wait(1)

    @property
    def remarks(self) -> list[tuple[str, str]]:
        return self.link.house.relay.said

    def end(self, id: str, code: int | None = 0, signal: int | None = None) -> None:
        spawner = self.link.house.spawner
        (pid,) = [held.pid for held in self.link.house.keeper if held.id == id]
        (number,) = [place for place, (_, transport) in enumerate(spawner.started) if transport.pid == pid]
        spawner.end(number, code or 0, signal or 0)
        self.wait()

    def refuse(self) -> None:
        self.link.house.spawner.refuse = "it cannot be started"

    def next_life(self) -> None:
        self.link.door.cut()
        self.leaving = Deferred.fromCoroutine(self.link.keeping.leave())
        self.keeper = self.link.keeping = Keeping(self.link.clock, self.link.door, self.link.clock.seconds)
        self.link.begin()

    def die(self) -> None:
        self.link.door.die()
        self.wait()


# The contract is no case itself, which a runner would run.
if TYPE_CHECKING:
    Case = SynchronousTestCase
else:
    Case = object


class KeeperContract(Case):
    make: Callable[[], FakeWorld | LinkedWorld]

    def setUp(self) -> None:
        self.world = type(self).make()
        self.heard: list[Exit] = []

    @property
    def keeper(self) -> Keeper:
        return self.world.keeper

    def start(self, id: str = "http-1") -> Held:
        starting = self.keeper.start(launch(id), self.heard.append)
        self.world.wait()
        return self.successResultOf(starting)

    def test_a_start_says_what_is_held(self) -> None:
        held = self.start()
        self.assertEqual((held.id, held.ended, held.code, held.signal), ("http-1", 0.0, None, None))
        self.assertEqual(list(self.keeper.held()), [held])

    def test_an_end_is_heard_once_and_held(self) -> None:
        self.start()
        self.assertEqual(self.heard, [])
        self.world.end("http-1", 3)
        self.assertEqual(self.heard, [Exit(3)])
        (held,) = self.keeper.held()
        self.assertEqual((held.code, held.signal, held.ended > 0), (3, None, True))

    def test_a_signal_is_told_as_one(self) -> None:
        self.start()
        self.world.end("http-1", signal=9)
        self.assertEqual(self.heard, [Exit(None, 9)])

    def test_what_runs_is_not_started_twice(self) -> None:
        self.start()
        again = self.keeper.start(launch(), self.heard.append)
        self.world.wait()
        self.failureResultOf(again, Refused)
        self.world.end("http-1")
        self.assertEqual(self.heard, [Exit(0)])

    def test_what_has_ended_is_started_again(self) -> None:
        first = self.start()
        self.world.end("http-1", 1)
        second = self.start()
        self.assertNotEqual(first.pid, second.pid)
        self.world.end("http-1", 2)
        self.assertEqual(self.heard, [Exit(1), Exit(2)])

    def test_what_cannot_be_started_is_refused_and_not_held(self) -> None:
        self.world.refuse()
        starting = self.keeper.start(launch(), self.heard.append)
        self.world.wait()
        self.assertEqual(str(self.failureResultOf(starting, Refused).value), "it cannot be started")
        self.assertEqual((list(self.keeper.held()), self.heard), ([], []))

    def test_what_is_forgotten_is_not_held(self) -> None:
        self.start()
        self.world.end("http-1")
        self.keeper.forget("http-1")
        self.keeper.forget("unknown")
        self.world.next_life()
        self.assertEqual(list(self.keeper.held()), [])

    def test_a_next_life_takes_over_what_runs(self) -> None:
        before = self.start()
        self.world.next_life()
        self.assertEqual(self.keeper.take_over("http-1", self.heard.append), before)
        self.world.end("http-1", 5)
        self.assertEqual(self.heard, [Exit(5)])

    def test_what_ended_meanwhile_says_so_itself(self) -> None:
        self.start()
        self.world.next_life()
        self.world.end("http-1", 5)
        held = self.keeper.take_over("http-1", self.heard.append)
        assert held is not None
        self.world.wait()
        self.assertEqual((held.code, self.heard), (5, []))

    def test_what_was_never_started_is_not_taken_over(self) -> None:
        self.assertIsNone(self.keeper.take_over("http-1", self.heard.append))

    def test_a_remark_is_one_line_in_its_log(self) -> None:
        self.keeper.remark("webapp/v1-abc/http-1", "3 checks in a row failed:\n status 500\n")
        self.world.wait()
        self.assertEqual(self.world.remarks, [("webapp/v1-abc/http-1", "3 checks in a row failed: status 500")])

    def test_a_dead_keepers_processes_are_lost(self) -> None:
        self.start("a")
        self.start("b")
        self.world.end("a", 1)
        self.world.die()
        self.assertEqual(self.heard, [Exit(1), Exit(None, None)])
        self.assertIsNone(self.keeper.take_over("b", self.heard.append))


class FakeKeeperTests(KeeperContract, SynchronousTestCase):
    make = FakeWorld


class KeepingTests(KeeperContract, SynchronousTestCase):
    make = LinkedWorld
