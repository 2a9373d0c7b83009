"""The temporary directories of apps, and what is looked up for many starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.addresses import FRESH, Addresses
from deployd.drone.scratch import Scratch
from deployd.errors import Refused


class ScratchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.scratch = Scratch(self.top)

    def test_is_empty_at_each_start_and_leads_nowhere_else(self) -> None:
        outside = Path(self.mktemp())
        outside.mkdir()
        (outside / "precious").touch()
        self.scratch.make("http-1")
        (self.scratch.path("http-1") / "link").symlink_to(outside.absolute())
        self.scratch.make("http-1")
        self.assertEqual(list(self.scratch.path("http-1").iterdir()), [])
        self.assertEqual([path.name for path in outside.iterdir()], ["precious"])

    def test_the_next_life_of_the_drone_knows_whose_are_left(self) -> None:
        self.assertEqual(self.scratch.left(), frozenset())
        for id in ("http-1", "exec-2"):
            self.scratch.make(id)
        self.assertEqual(self.scratch.left(), {"http-1", "exec-2"})

    def test_many_files_are_deleted_when_there_is_time(self) -> None:
        later: list[Path] = []
        scratch = Scratch(self.top, later.append)
        scratch.make("http-1")
        (scratch.path("http-1") / "file").touch()
        scratch.make("http-1")
        self.assertEqual(list(scratch.path("http-1").iterdir()), [])
        self.assertEqual([[file.name for file in path.iterdir()] for path in later], [["file"]])

    def test_what_a_kill_has_left_to_be_deleted_goes_too(self) -> None:
        Scratch(self.top, lambda _: None).make("http-1")
        Scratch(self.top, lambda _: None).remove("http-1")
        self.assertEqual(self.scratch.left(), frozenset())
        self.assertEqual(list(self.top.iterdir()), [])

    def test_says_in_one_sentence_that_it_cannot_be_made(self) -> None:
        self.top.touch()
        with self.assertRaisesRegex(Refused, "the directory for temporary files cannot be made: Not a directory"):
            self.scratch.make("http-1")


class AddressesTests(SynchronousTestCase):
    def test_are_looked_up_again_after_a_while_only(self) -> None:
        clock, looks = Clock(), [frozenset({"192.0.2.1"}), frozenset({"192.0.2.2"})]
        to_thread: Any = lambda _: succeed(looks.pop(0))  # noqa: E731
        addresses = Addresses(clock, to_thread)
        seen = []
        for pause in (0.0, FRESH - 1, 1.0):
            clock.advance(pause)
            seen.append(self.successResultOf(Deferred.fromCoroutine(addresses.get())))
        self.assertEqual(seen, [{"192.0.2.1"}, {"192.0.2.1"}, {"192.0.2.2"}])
