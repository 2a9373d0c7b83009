"""How far a registry's table has come, in a small file beside it."""

from __future__ import annotations

import os
from fcntl import ioctl
from pathlib import Path
from zlib import crc32

from attrs import frozen

_SLOT = 128
# FS_IOC_GETVERSION of linux/fs.h: ext4, XFS and btrfs give each inode a number when they give it to a file.
_GET_GENERATION = 0x80087601


@frozen
class Mark:
    """``file`` is which one the table is in (``identity_of``): what was copied is another one."""

    epoch: str
    number: int
    file: int


def identity_of(path: Path) -> int:
    """Of a file, as long as it exists; raise OSError. Where only the inode is known, a later file may have the same."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            generation = int.from_bytes(ioctl(file, _GET_GENERATION, bytes(8))[:4], "little")
        except OSError:
            generation = 0
        return os.fstat(file).st_ino << 32 | generation
    finally:
        os.close(file)


class MarkFile:
    """Two slots that are written in turn, in place: a kill in the middle of one leaves the other.

    Nothing waits for the disk but ``sync``: what a process has written is there after it was killed. ``path`` is not
    a name that begins as the table's does: who copies ``registry.sqlite*`` back should leave the mark alone.
    """

    def __init__(self, table: Path) -> None:
        self.path = table.with_suffix(".mark")
        self._file = -1
        self._turn = 0

    def open(self) -> Mark | None:
        """The mark; None when there is none, or none that can be read. Raise OSError."""
        self.close()
        new = not self.path.exists()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if new:
            _sync_directory(self.path.parent)
        content = os.pread(self._file, 2 * _SLOT, 0)
        slots = [_parsed(content[turn * _SLOT : (turn + 1) * _SLOT]) for turn in (0, 1)]
        found = [(mark, turn) for turn, mark in enumerate(slots) if mark is not None]
        if not found:
            return None
        newest, turn = max(found, key=lambda slot: slot[0].number)
        self._turn = 1 - turn
        return newest

    def write(self, mark: Mark) -> None:
        """Numbers of marks only grow; raise OSError."""
        text = f"{mark.epoch} {mark.number} {mark.file}"
        line = f"{crc32(text.encode()):08x} {text}"
        os.pwrite(self._file, line.ljust(_SLOT - 1).encode() + b"\n", self._turn * _SLOT)
        self._turn = 1 - self._turn

    def sync(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _parsed(slot: bytes) -> Mark | None:
    try:
        check, _, text = slot.decode().strip().partition(" ")
        if int(check, 16) != crc32(text.encode()):
            return None
        epoch, number, file = text.split(" ")
        return Mark(epoch, int(number), int(file))
    except ValueError:
        return None


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
