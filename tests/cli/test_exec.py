"""Commands that run on drones as if they ran here."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.exec_run import BREATH, FAILED, Asked, Execution
from deployd.errors import Unreachable
from tests.cli.scripted_drones import TalkingBench


class FakeStreams:
    """``given`` is the input, piece by piece; then it ends, or stays open."""

    def __init__(self) -> None:
        self.given: list[bytes] = []
        self.ends = True
        self.stdout = self.stderr = b""

    def read(self) -> Deferred[bytes]:
        if self.given or self.ends:
            return succeed(self.given.pop(0) if self.given else b"")
        return Deferred()

    def write(self, stdout: bytes, stderr: bytes) -> Deferred[None]:
        self.stdout += stdout
        self.stderr += stderr
        return succeed(None)


class ExecutionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = TalkingBench("d1", "d2")
        self.d1, self.d2 = self.bench.drones["d1"], self.bench.drones["d2"]
        self.streams = FakeStreams()
        self.said: list[str] = []

    def run_it(self, every: bool = False) -> Deferred[Any]:
        asked = Asked("webapp", "v1", (), every, ("ls", "-l"), {"TOKEN": "abc"})
        return self.bench.start(Execution(self.bench.cluster, asked, self.streams, self.said.append).run())

    def test_input_goes_there_and_output_and_code_come_back(self) -> None:
        self.streams.given = [b"one\0", b"two"]
        self.d1.says = [{"stdout": b"out\xff", "stderr": b"err"}, {"stdout": b"!"}, {"ended": True, "code": 7}]
        running = self.run_it()
        self.bench.way.advance(1)
        self.assertEqual(self.successResultOf(running), 7)
        self.assertEqual((self.streams.stdout, self.streams.stderr, self.said), (b"out\xff!", b"err", []))
        (asked,) = self.bench.hub.asked_for("Exec")
        self.assertEqual((asked["argv"], asked["env"]), (["ls", "-l"], {"TOKEN": "abc"}))

    def test_all_input_is_given_and_then_its_end(self) -> None:
        self.streams.given = [b"one\0", b"two"]
        running = self.run_it()
        self.bench.way.advance(1)
        self.assertEqual((self.d1.input, self.d1.input_ended), (b"one\0two", True))
        self.assertNoResult(running)

    def test_on_several_drones_lines_say_where_and_the_highest_code_counts(self) -> None:
        self.d1.says = [{"stdout": b"one\ntw"}, {"stdout": b"o", "ended": True, "code": 1}]
        self.d2.says = [{"stdout": b"three\n", "ended": True, "code": 3}]
        running = self.run_it(every=True)
        self.bench.way.advance(1)
        self.assertEqual(self.successResultOf(running), 3)
        self.assertEqual(sorted(self.streams.stdout.splitlines()), [b"d1 | one", b"d1 | two", b"d2 | three"])

    def test_one_that_cannot_be_run_says_why(self) -> None:
        self.d1.says = [{"failed": "nosuch: command not found"}]
        running = self.run_it()
        self.bench.way.advance(1)
        self.assertEqual(self.successResultOf(running), FAILED)
        self.assertEqual(self.said, ["d1: nosuch: command not found"])

    def test_one_that_is_gone_with_its_drone_says_so_and_the_others_go_on(self) -> None:
        self.d1.away = True
        self.d2.says = [{"stdout": b"x\n"}, {"ended": True, "code": 0}]
        running = self.run_it(every=True)
        self.bench.way.advance(1)
        self.assertEqual(self.successResultOf(running), FAILED)
        self.assertEqual((self.streams.stdout, len(self.said)), (b"d2 | x\n", 1))

    def test_a_link_that_breaks_ends_it(self) -> None:
        running = self.run_it()
        self.bench.way.cut()
        self.bench.clock.advance(BREATH)
        self.failureResultOf(running, Unreachable)

    def test_somebody_is_there_as_long_as_it_runs(self) -> None:
        self.streams.ends = False
        self.run_it()
        self.bench.way.advance(25)
        self.assertEqual(len(self.bench.hub.asked_for("ExecWrite")), 2)
