"""Packs that are made once for all who ask: joined, kept, given up, in bounds."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.git.problems import BadPack
from deployd.git.web.flights import Flight, Flights, Room
from deployd.git.web.supply import Slice
from deployd.git.work.orders import Answer, Note


class Maker:
    """Has packs made when a test says so."""

    def __init__(self) -> None:
        self.files: list[int] = []
        self.notes: list[Note] = []
        self.made: list[Deferred[Answer]] = []

    def __call__(self, file: int, note: Note) -> Deferred[Answer]:
        self.files.append(file)
        self.notes.append(note)
        self.made.append(Deferred())
        return self.made[-1]

    def finish(self, content: bytes) -> None:
        os.pwrite(self.files[-1], content, 0)
        self.made[-1].callback(Answer({"pieces": [(None, 0, len(content))], "remarks": []}))


class FlightsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Path(self.mktemp())
        self.spool.mkdir()
        self.make = Maker()
        self.flights = self.with_room(1000, 10)

    def with_room(self, size: int, files: int) -> Flights:
        in_thread: Any = maybeDeferred
        return Flights(str(self.spool), Room(size, files), in_thread)

    def have(self, key: str, size: int) -> None:
        """Make a pack that nobody reads any more."""
        flight = self.flights.join(key, self.make)
        self.make.finish(bytes(size))
        self.flights.leave(flight)

    def content(self, flight: Flight) -> bytes:
        return b"".join(
            piece if isinstance(piece, bytes) else os.pread(piece.file, piece.end - piece.start, piece.start)
            for piece in flight.supply.pieces
        )

    def test_who_asks_for_the_same_gets_the_same(self) -> None:
        one, other = (self.flights.join("key", self.make) for _ in range(2))
        self.assertIs(one, other)
        os.pwrite(self.make.files[0], b"begi", 0)
        self.make.notes[0]({"size": 4})
        self.assertEqual(self.content(one), b"begi")
        self.make.finish(b"beginning")
        self.assertTrue(one.supply.ended)
        self.flights.leave(one)
        self.flights.leave(other)
        late = self.flights.join("key", self.make)
        self.assertEqual((len(self.make.made), self.content(late)), (1, b"beginning"))
        self.assertEqual((self.flights.made, self.flights.shared), (1, 2))

    def test_nothing_of_it_has_a_name(self) -> None:
        self.have("key", 100)
        self.assertEqual(list(self.spool.iterdir()), [])

    def test_what_fails_fails_for_all_and_is_made_anew_for_who_comes_then(self) -> None:
        flights = [self.flights.join("key", self.make) for _ in range(2)]
        self.make.made[0].errback(BadPack("it is damaged"))
        self.assertIsInstance(flights[0].supply.problem, BadPack)
        other = self.flights.join("key", self.make)
        self.assertIsNot(other, flights[0])
        for flight in flights:
            self.flights.leave(flight)
        self.assertEqual(self.flights.files, 1)

    def test_what_nobody_waits_for_is_made_no_more(self) -> None:
        one, other = (self.flights.join("key", self.make) for _ in range(2))
        self.flights.leave(one)
        self.assertFalse(self.make.made[0].called)
        self.flights.leave(other)
        self.assertTrue(self.make.made[0].called)
        self.assertEqual(self.flights.files, 0)
        self.flights.join("key", self.make)
        self.assertEqual(len(self.make.made), 2)

    def test_the_oldest_goes_when_there_is_no_room(self) -> None:
        for key in ("a", "b", "c"):
            self.have(key, 400)
        self.flights.leave(self.flights.join("b", self.make))
        self.have("d", 400)
        self.assertEqual((self.flights.bytes, self.flights.files), (800, 2))
        self.flights.leave(self.flights.join("b", self.make))
        self.assertEqual(len(self.make.made), 4)

    def test_there_are_no_more_files_than_may_be(self) -> None:
        self.flights = self.with_room(1000, 2)
        for key in "abcd":
            self.have(key, 1)
        self.assertEqual(self.flights.files, 2)

    def test_what_is_read_is_not_taken_away_and_fills_the_room(self) -> None:
        flight = self.flights.join("large", self.make)
        self.make.finish(bytes(1500))
        self.assertRaises(Busy, self.flights.join, "other", self.make)
        self.assertEqual(len(self.content(flight)), 1500)
        self.flights.leave(flight)
        self.flights.join("other", self.make)

    def test_a_full_disk_takes_what_is_kept_and_then_tells_who_asked(self) -> None:
        self.have("old", 100)
        flight = self.flights.join("key", self.make)
        self.make.made[-1].errback(OSError(errno.ENOSPC, "full"))
        self.assertEqual((self.flights.files, len(self.make.made)), (1, 3))
        self.make.made[-1].errback(OSError(errno.ENOSPC, "full"))
        self.assertIsInstance(flight.supply.problem, OSError)

    def test_slices_of_the_repositorys_packs_are_read_and_not_kept(self) -> None:
        pack = self.spool / "pack"
        pack.write_bytes(b"0123456789")
        flight = self.flights.join("key", self.make)
        pieces = [("", 0, 4), (str(pack), 2, 8), ("", 4, 6)]
        self.make.made[0].callback(Answer({"pieces": pieces, "remarks": ["said"]}, b"headto"))
        pack.unlink()
        self.assertEqual((self.content(flight), flight.supply.remarks), (b"head234567to", ["said"]))
        descriptors = [piece.file for piece in flight.supply.pieces if isinstance(piece, Slice)]
        self.flights.leave(flight)
        self.assertEqual(self.flights.files, 0)
        self.assertRaises(OSError, os.fstat, descriptors[0])

    def test_a_pack_that_was_merged_meanwhile_is_looked_for_once_more(self) -> None:
        flight = self.flights.join("key", self.make)
        gone = Answer({"pieces": [(str(self.spool / "gone"), 0, 1)], "remarks": []})
        self.make.made[0].callback(gone)
        self.assertEqual(len(self.make.made), 2)
        self.make.made[1].callback(gone)
        self.assertIsInstance(flight.supply.problem, FileNotFoundError)
