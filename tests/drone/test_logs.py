"""What apps print, on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.logs import KEPT_FILES, LOOK, NEXT_LOOK, Log, Logs, log_name


def say(log: Log, *pieces: bytes) -> None:
    """What a process that starts and ends prints."""
    fd = log.open()
    for piece in pieces:
        os.write(fd, piece)
    os.close(fd)


class NameTests(SynchronousTestCase):
    def test_is_apart_for_every_app_release_and_commit(self) -> None:
        self.assertEqual(log_name("team/webapp", "v3", "c0ffee", "http-ab12"), "team+webapp/v3-c0ffee/http-ab12")


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.before = self.path.with_name(self.path.name + ".1")
        self.log = Log(self.path, size=100)

    def open(self) -> int:
        fd = self.log.open()
        self.addCleanup(os.close, fd)
        return fd

    def test_keeps_what_was_said_also_over_a_restart(self) -> None:
        say(self.log, b"one\n")
        say(Log(self.path), b"two\n")
        self.assertEqual(self.path.read_bytes(), b"one\ntwo\n")

    def test_the_tail_is_what_this_start_has_said(self) -> None:
        say(self.log, b"one\n")
        self.assertEqual(self.log.tail(), "one")
        say(self.log, b"two\n", b"and\x07 more")
        self.assertEqual(self.log.tail(), "two\nand\\x07 more")
        say(self.log)
        self.assertEqual(self.log.tail(), "")

    def test_the_tail_begins_with_a_whole_line(self) -> None:
        log = Log(self.path)
        say(log, b"x" * 20_000 + b"\n", b"y" * 1000 + b"\n", b"end\n")
        self.assertEqual(log.tail(), "y" * 1000 + "\nend")

    def test_the_tail_of_a_line_without_end_is_its_end(self) -> None:
        log = Log(self.path)
        say(log, b"x" * 50_000)
        self.assertEqual(log.tail(), "x" * 2000 + " ...")

    def test_no_file_has_no_tail(self) -> None:
        self.assertEqual(self.log.tail(), "")

    def test_is_cut_when_it_has_grown_too_long_and_its_end_is_kept(self) -> None:
        fd = self.open()
        os.write(fd, b"a" * 100)
        self.assertFalse(self.log.cut())
        os.write(fd, b"b" * 50)
        self.assertTrue(self.log.cut())
        os.write(fd, b"after\n")
        self.assertEqual(self.path.read_bytes(), b"after\n")
        self.assertEqual(self.before.read_bytes(), b"a" * 50 + b"b" * 50)

    def test_there_is_nothing_to_cut_before_the_first_start(self) -> None:
        self.assertFalse(self.log.cut())

    def test_is_cut_also_when_its_end_cannot_be_kept(self) -> None:
        fd = self.open()
        os.write(fd, b"a" * 101)
        self.before.mkdir()
        self.assertRaises(OSError, self.log.cut)
        self.assertEqual(self.path.stat().st_size, 0)

    def test_the_tail_goes_on_in_the_file_before(self) -> None:
        """But not into what an earlier start said."""
        say(self.log, b"old\n" * 10)
        fd = self.open()
        os.write(fd, b"new\n" * 20)
        self.log.cut()
        self.assertEqual(self.log.tail(), "\n".join(["new"] * 20))
        os.write(fd, b"last\n")
        self.assertEqual(self.log.tail(), "\n".join(["new"] * 19 + ["last"]))
        say(self.log, b"newest\n")
        self.assertEqual(self.log.tail(), "newest")

    @given(st.lists(st.sampled_from(["say", "start", "cut"]), max_size=60))
    def test_the_tail_is_right_whatever_is_cut_when(self, acts: list[str]) -> None:
        self.path.unlink(missing_ok=True)
        self.before.unlink(missing_ok=True)
        log, said = Log(self.path, size=100), [b""]
        for number, act in enumerate(acts):
            if act == "say":
                said.append(b"line %05d\n" % number)
                with self.path.open("ab") as file:
                    file.write(said[-1])
            elif act == "start":
                os.close(log.open())
                said = [b""]
            else:
                log.cut()
        shown = log.tail()
        self.assertTrue(b"".join(said).decode().rstrip().endswith(shown))
        self.assertEqual(bool(shown), len(said) > 1)

    def test_is_readable_by_its_owner_only(self) -> None:
        os.write(self.open(), b"a" * 101)
        self.log.cut()
        self.assertEqual({path.stat().st_mode & 0o777 for path in (self.path, self.before)}, {0o600})

    def test_a_file_that_cannot_be_opened_stops_nobody(self) -> None:
        say(Log(self.path / "no" / "directory"), b"lost\n")


class LogsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.clock = Clock()
        self.looks = 0
        self.logs = Logs(self.directory, self.clock, self.to_thread, size=100)
        self.logs.prepare()

    def to_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.looks += 1
        return execute(function, *arguments)

    def names(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}

    def fill(self, count: int) -> None:
        for number in range(count):
            path = self.directory / f"{number}.log"
            path.touch()
            os.utime(path, (number, number))

    def test_cuts_each_that_has_grown_too_long_and_looks_again_soon(self) -> None:
        say(self.logs.of("http-1"), b"x" * 101)
        say(self.logs.of("http-2"), b"x" * 100)
        self.clock.advance(LOOK)
        self.assertEqual(self.names(), {"http-1.log", "http-1.log.1", "http-2.log"})
        say(self.logs.of("http-1"), b"y" * 101)
        self.clock.advance(NEXT_LOOK)
        self.assertEqual((self.directory / "http-1.log.1").read_bytes()[-1:], b"y")
        self.assertEqual(self.looks, 2)
        self.clock.advance(NEXT_LOOK)
        self.clock.advance(NEXT_LOOK)
        self.assertEqual(self.looks, 3)

    def test_one_that_cannot_be_cut_keeps_no_other_from_it(self) -> None:
        say(self.logs.of("http-1"), b"x" * 101)
        (self.directory / "http-1.log.1").mkdir()
        say(self.logs.of("http-2"), b"x" * 101)
        self.clock.advance(LOOK)
        self.assertIn("http-2.log.1", self.names())
        self.clock.advance(LOOK)
        self.assertEqual(self.looks, 2)

    def test_deletes_the_oldest_of_very_many_but_none_in_use(self) -> None:
        self.fill(KEPT_FILES + 3)
        self.logs.of("0")
        self.clock.advance(LOOK)
        self.assertEqual(len(self.names()), KEPT_FILES + 1)
        self.assertEqual(self.names() & {"0.log", "1.log", "2.log", "3.log"}, {"0.log", "3.log"})

    def test_deletes_again_when_instances_are_forgotten(self) -> None:
        self.clock.advance(LOOK)
        self.fill(KEPT_FILES + 1)
        self.clock.advance(LOOK)
        self.assertEqual(len(self.names()), KEPT_FILES + 1)
        self.logs.release("0")
        self.clock.advance(LOOK)
        self.assertEqual(len(self.names()), KEPT_FILES)

    def test_looks_no_more_once_it_is_closed(self) -> None:
        self.logs.close()
        self.logs.close()
        self.clock.advance(60)
        self.assertEqual((self.looks, self.clock.getDelayedCalls()), (0, []))
