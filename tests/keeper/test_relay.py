"""From pipes into logs, turn by turn."""

from __future__ import annotations

# Not ``suppress`` by name, for which trial looks in modules of tests.
import contextlib
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.keeper import relay
from deployd.keeper.relay import BURST, CHUNK, RATE, Relay, Source
from deployd.keeper.segments import Budgets, Segments
from deployd.keeper.stamps import Stamps
from deployd.processes.records import STDERR, STDOUT, WORDS, Record, unpack
from tests.keeper.house import descriptors

LOG = "web/v1/a"


class RelayCase(SynchronousTestCase):
    def setUp(self) -> None:
        top = Path(self.mktemp()).absolute()
        self.logs = top / "logs"
        self.now = 100.0
        self.said: list[str] = []
        segments = Segments(self.logs, Budgets(), contextlib.nullcontext(), self.said.append)
        segments.load()
        self.relay = Relay(segments, Stamps(top / "stamp"), self.said.append, lambda: self.now)
        self.open: set[int] = set()
        self.addCleanup(self.close)

    def close(self) -> None:
        if not self.relay._closed:
            self.relay._order(self.relay._close)
            self.relay.turn(0)
        for fd in self.open:
            os.close(fd)

    def pipe(self) -> tuple[int, int]:
        """The relay's end, and that of the process."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        os.set_blocking(theirs, False)
        self.open.add(theirs)
        return ours, theirs

    def watch(self, log: str = LOG) -> tuple[Source, int, int]:
        out, theirs_out = self.pipe()
        err, theirs_err = self.pipe()
        source = self.relay.watch(log, {out: STDOUT, err: STDERR}, "started, pid 7")
        self.turns()
        return source, theirs_out, theirs_err

    def leave(self, fd: int) -> None:
        self.open.remove(fd)
        os.close(fd)

    def turns(self, count: int = 3) -> None:
        for _ in range(count):
            self.relay.turn(0)

    def records(self, log: str = LOG) -> list[Record]:
        data = b"".join(path.read_bytes() for path in sorted((self.logs / log).glob("*.log")))
        found, taken = unpack(data)
        self.assertEqual(taken, len(data))
        return found

    def told(self, log: str = LOG) -> list[tuple[int, bytes]]:
        return [(record.stream, record.data) for record in self.records(log)]


class OutputTests(RelayCase):
    def test_both_streams_are_told_apart_and_in_order(self) -> None:
        _, out, err = self.watch()
        os.write(out, b"one\n")
        self.turns()
        os.write(err, b"two\n")
        self.turns()
        self.assertEqual(self.told(), [(WORDS, b"started, pid 7"), (STDOUT, b"one\n"), (STDERR, b"two\n")])
        stamps = [record.stamp for record in self.records()]
        self.assertEqual(stamps, sorted(set(stamps)))

    def test_last_words_are_there_before_the_end_is_told(self) -> None:
        source, out, _ = self.watch()
        os.write(out, b"half a line")
        told: list[list[tuple[int, bytes]]] = []
        self.relay.ended(source, "exited with code 1", lambda: told.append(self.told()))
        self.turns(1)
        self.assertEqual(told[0][1:], [(STDOUT, b"half a line"), (WORDS, b"exited with code 1")])

    def test_what_a_grandchild_says_later_is_kept(self) -> None:
        source, out, _ = self.watch()
        self.relay.ended(source, "exited with code 0", lambda: None)
        self.turns()
        os.write(out, b"late\n")
        self.turns()
        self.assertEqual(self.told()[-1], (STDOUT, b"late\n"))

    def test_pipes_that_end_are_closed(self) -> None:
        before = len(descriptors())
        self.watch()
        for fd in list(self.open):
            self.leave(fd)
        self.turns()
        # The log is still open.
        self.assertEqual(len(descriptors()), before + 1)

    def test_without_a_log_nothing_is_written(self) -> None:
        source = self.relay.watch("", {}, "started, pid 7")
        told: list[int] = []
        self.relay.ended(source, "exited with code 0", lambda: told.append(1))
        self.turns()
        self.assertEqual((told, list(self.logs.rglob("*"))), ([1], []))

    def test_a_remark_is_written_in_its_turn_into_any_log(self) -> None:
        self.watch()
        self.relay.remark(LOG, "is not well")
        self.relay.remark("web/v1/never-started", "given up")
        self.turns()
        self.assertEqual(self.told(), [(WORDS, b"started, pid 7"), (WORDS, b"is not well")])
        self.assertEqual(self.told("web/v1/never-started"), [(WORDS, b"given up")])

    def test_long_output_is_cut_into_records(self) -> None:
        _, out, _ = self.watch()
        os.write(out, b"x" * 60_000)
        self.turns()
        self.assertEqual(b"".join(data for stream, data in self.told() if stream == STDOUT), b"x" * 60_000)


class FailureTests(RelayCase):
    def test_a_mistake_ends_no_relay(self) -> None:
        """Without it every app would wait for ever, once its pipe is full."""
        self.patch(relay, "AFTER_FAILURE", 0.0)
        out, theirs = self.pipe()
        self.relay._order(lambda: 1 / 0)  # type: ignore[arg-type]
        self.relay.watch(LOG, {out: STDOUT}, "started, pid 7")
        os.write(theirs, b"one\n")
        self.relay._order(self.relay._close)
        self.relay.run()
        self.assertEqual(self.said, ["the relay has failed at something: ZeroDivisionError('division by zero')"])
        self.assertEqual(self.told()[0], (WORDS, b"started, pid 7"))


class ChattyTests(RelayCase):
    def fill(self, fd: int) -> int:
        """Write until the pipe is full."""
        with contextlib.suppress(BlockingIOError):
            return os.write(fd, b"y" * CHUNK)
        return 0

    def chat(self, fd: int, turns: int) -> int:
        taken = 0
        for _ in range(turns):
            taken += self.fill(fd)
            self.relay.turn(0)
        return taken

    def test_a_chatty_process_blocks_on_its_own_pipe(self) -> None:
        _, out, _ = self.watch()
        taken = self.chat(out, 2 * BURST // CHUNK)
        self.assertLessEqual(taken, BURST + 2 * CHUNK)
        self.assertEqual(self.chat(out, 10), 0)

    def test_it_goes_on_at_its_rate(self) -> None:
        _, out, _ = self.watch()
        self.chat(out, 2 * BURST // CHUNK)
        taken = 0
        for _ in range(100):
            self.now += 0.01
            taken += self.chat(out, 4)
        self.assertTrue(0.8 * RATE < taken < 1.2 * RATE, taken)

    def test_others_are_read_meanwhile(self) -> None:
        _, out, _ = self.watch()
        _, other, _ = self.watch("web/v1/b")
        self.chat(out, 2 * BURST // CHUNK)
        os.write(other, b"hello\n")
        self.turns()
        self.assertEqual(self.told("web/v1/b")[-1], (STDOUT, b"hello\n"))

    def test_its_end_is_told_though_it_may_print_no_more(self) -> None:
        source, out, err = self.watch()
        self.chat(out, 2 * BURST // CHUNK)
        told: list[int] = []
        self.relay.ended(source, "was ended by SIGKILL", lambda: told.append(1))
        self.leave(out)
        self.leave(err)
        self.turns()
        self.assertEqual(told, [1])
        self.now += 10
        self.turns()
        self.assertEqual(self.relay._sources, {})
        self.assertEqual(self.said, [])
