"""The access log: whole lines, nobody waits, files of bounded size."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.router.access_log import AccessLog, LogFile
from deployd.router.access_text import line_of
from deployd.router.http.access import AccessLine

LINE = AccessLine(
    1_700_000_000.25, "10.0.0.1", "shop.example", "GET", "/\n\x7f\xff", 200, 5, 0.0123456789, "shop.example",
    "webapp", "v1", "http-1", "f" * 32, 0,
)  # fmt: skip


class SlowDisk:
    """A file that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.text = b""

    def write(self, text: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.text += text

    def close(self) -> None:
        self.text += b"closed"


class AccessLogTests(SynchronousTestCase):
    def test_a_line_is_json_whatever_is_in_it(self) -> None:
        text = line_of(LINE)
        self.assertEqual(text.count(b"\n"), 1)
        self.assertTrue(text.isascii())
        document = json.loads(text)
        self.assertEqual(document["time"], "2023-11-14T22:13:20.250Z")
        self.assertEqual((document["path"], document["seconds"]), ("/\n\x7f\xff", 0.012346))

    def test_what_waits_is_written_at_the_end(self) -> None:
        disk = SlowDisk()
        log = AccessLog(disk)  # type: ignore[arg-type]
        log.start()
        for number in range(1000):
            log.add(lambda number=number: b"%d\n" % number)  # type: ignore[misc]
        log.close()
        self.assertEqual(disk.text, b"".join(b"%d\n" % number for number in range(1000)) + b"closed")

    def test_what_does_not_fit_is_dropped_and_counted(self) -> None:
        disk = SlowDisk()
        log = AccessLog(disk, max_waiting=10)  # type: ignore[arg-type]
        for _ in range(15):
            log.add(lambda: b"x")
        self.assertEqual(log.dropped, 5)
        log.start()
        log.close()
        self.assertEqual(disk.text, b"x" * 10 + b"closed")

    def test_a_full_disk_costs_lines_and_nothing_else(self) -> None:
        disk = SlowDisk(failures=1)
        log = AccessLog(disk)  # type: ignore[arg-type]
        for _ in range(501):
            log.add(lambda: b"x")
        log.start()
        log.close()
        self.assertEqual(log.dropped, 500)

    def test_one_that_was_never_started_ends_too(self) -> None:
        disk = SlowDisk()
        AccessLog(disk).close()  # type: ignore[arg-type]
        self.assertEqual(disk.text, b"closed")


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "access.log"

    def opened(self, **bounds: int) -> LogFile:
        file = LogFile(self.path, **bounds)
        self.addCleanup(file.close)
        return file

    def texts(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.glob("access.log*") if path.suffix != ".lock"}

    def test_it_goes_on_where_it_ended(self) -> None:
        self.opened().write(b"a\n")
        self.opened().write(b"b\n")
        self.assertEqual(self.texts(), {"access.log": b"a\nb\n"})

    def test_a_full_one_is_numbered_and_the_oldest_goes(self) -> None:
        file = self.opened(limit=2, count=2)
        for text in (b"a\n", b"b\n", b"c\n", b"d\n"):
            file.write(text)
        self.assertEqual(self.texts(), {"access.log": b"d\n", "access.log.1": b"c\n", "access.log.2": b"b\n"})

    def test_several_processes_write_to_the_one_that_has_the_name(self) -> None:
        one, other = self.opened(limit=4), self.opened(limit=4)
        one.write(b"a\n")
        other.write(b"b\n")
        one.write(b"c\n")
        other.write(b"d\n")
        self.assertEqual(self.texts(), {"access.log": b"c\nd\n", "access.log.1": b"a\nb\n"})

    def test_one_that_somebody_has_moved_is_made_anew(self) -> None:
        file = self.opened()
        file.write(b"a\n")
        os.rename(self.path, "elsewhere")  # noqa: PTH104
        file.write(b"b\n")
        self.assertEqual(self.texts(), {"access.log": b"b\n"})
