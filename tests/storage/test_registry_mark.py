"""The mark beside the registry's table."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.storage.registry_mark import Mark, MarkFile, identity_of


def mark(number: int, epoch: str = "e" * 32) -> Mark:
    return Mark(epoch, number, 2**64 - 1)


class MarkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Path(self.mktemp()).with_suffix(".sqlite")
        self.file = self.opened()

    def opened(self) -> MarkFile:
        file = MarkFile(self.table)
        self.found = file.open()
        self.addCleanup(file.close)
        return file

    def test_there_is_none_at_first(self) -> None:
        self.assertIsNone(self.found)
        self.opened()
        self.assertIsNone(self.found)

    def test_the_last_one_is_found(self) -> None:
        for number in (0, 1, 10**18 - 1):
            self.file.write(mark(number))
            self.file.sync()
            self.opened()
            self.assertEqual(self.found, mark(number))

    def test_it_stays_as_small_as_it_is(self) -> None:
        for number in range(1000):
            self.file.write(mark(number))
        self.assertEqual(self.file.path.stat().st_size, 256)

    def test_one_that_is_cut_off_anywhere_leaves_the_one_before(self) -> None:
        """A kill in the middle of a write, at every byte of it."""
        self.file.write(mark(7))
        self.file.write(mark(8))
        before = self.file.path.read_bytes()
        self.opened().write(mark(9, "f" * 32))
        after = self.file.path.read_bytes()
        for end in range(len(after) + 1):
            self.file.path.write_bytes(after[:end] + before[end:])
            self.opened()
            self.assertIn(self.found, (mark(8), mark(9, "f" * 32)))

    def test_writing_goes_on_after_the_last_one(self) -> None:
        """A file that was opened again does not write over the newest mark."""
        for number in range(5):
            self.opened().write(mark(number))
            content = self.file.path.read_bytes()
            self.assertIn(f" {number} ".encode(), content)
            if number:
                self.assertIn(f" {number - 1} ".encode(), content)

    def test_garbage_is_no_mark(self) -> None:
        for content in (b"\xff" * 300, b"0" * 256, b"00000000 \n" * 30, b"zz e 1 2".ljust(256)):
            self.file.path.write_bytes(content)
            self.opened()
            self.assertIsNone(self.found)

    def test_a_copy_is_another_file(self) -> None:
        self.table.write_bytes(b"x")
        first = identity_of(self.table)
        with self.table.open("ab") as file:
            file.write(b"more")
        self.assertEqual(identity_of(self.table), first)
        self.table.rename(self.table.with_name("moved"))
        self.assertEqual(identity_of(self.table.with_name("moved")), first)
        self.table.write_bytes(b"x")
        self.assertNotEqual(identity_of(self.table), first)

    def test_nobody_else_may_read_it(self) -> None:
        self.assertEqual(self.file.path.stat().st_mode & 0o777, 0o600)
