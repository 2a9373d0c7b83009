"""What apps print, on disk."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.logs import MAX_FILES, Logs


class LogsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.logs = Logs(self.directory, size=100)
        self.addCleanup(self.logs.close)
        self.logs.prepare()

    def test_keeps_what_was_said_also_over_a_restart(self) -> None:
        self.logs.of("http-1")(b"one\n")
        self.logs.close()
        Logs(self.directory).of("http-1")(b"two\n")
        self.assertEqual((self.directory / "http-1.log").read_bytes(), b"one\ntwo\n")

    def test_never_holds_more_than_two_files_for_an_instance(self) -> None:
        write = self.logs.of("http-1")
        for number in range(100):
            write(b"line %04d\n" % number)
        self.assertEqual(sorted(path.name for path in self.directory.iterdir()), ["http-1.log", "http-1.log.1"])
        sizes = [path.stat().st_size for path in self.directory.iterdir()]
        self.assertTrue(all(size <= 100 for size in sizes), sizes)
        self.assertTrue((self.directory / "http-1.log").read_bytes().endswith(b"line 0099\n"))

    def test_counts_what_was_there_before(self) -> None:
        (self.directory / "http-1.log").write_bytes(b"x" * 99)
        write = self.logs.of("http-1")
        write(b"ab\n")
        write(b"cd\n")
        self.assertEqual((self.directory / "http-1.log").read_bytes(), b"cd\n")

    def test_a_disk_that_cannot_be_written_stops_nobody(self) -> None:
        write = self.logs.of("no/such/directory")
        write(b"lost\n")
        write(b"lost too\n")

    def test_is_readable_by_its_owner_only(self) -> None:
        self.logs.of("http-1")(b"one\n")
        self.assertEqual((self.directory / "http-1.log").stat().st_mode & 0o777, 0o600)

    def test_deletes_the_oldest_of_very_many(self) -> None:
        for number in range(MAX_FILES + 3):
            path = self.directory / f"{number}.log"
            path.touch()
            os.utime(path, (number, number))
        self.logs.prepare()
        self.assertEqual(len(list(self.directory.iterdir())), MAX_FILES)
        self.assertFalse((self.directory / "2.log").exists())
