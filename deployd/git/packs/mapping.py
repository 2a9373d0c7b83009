"""Files seen as bytes: packs as they lie there, and unnamed files for what is too large to be in memory twice."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from deployd.git.packs.entries import Buffer, inflate_into, inflated

LARGE = 16 << 20


def map_file(file: BinaryIO) -> mmap.mmap:
    """A file, of a byte at least, to be read; it may be closed and deleted then."""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_path(path: Path) -> mmap.mmap:
    """The file at ``path``; raise FileNotFoundError, or ValueError when it is empty."""
    with path.open("rb") as file:
        return map_file(file)


def in_file(fill: Callable[[BinaryIO], object], directory: Path | None = None) -> mmap.mmap:
    """What ``fill`` writes, a byte at least, in a file that is gone when nobody refers to this any more."""
    with tempfile.TemporaryFile(dir=directory) as file:
        fill(file)
        file.flush()
        return map_file(file)


def content_of(buffer: Buffer, position: int, end: int, size: int) -> Buffer:
    """The content of an entry of ``size`` bytes, in a file when it is large. Raise BadPack as ``inflated`` does."""
    if size <= LARGE:
        return inflated(buffer, position, end, size)
    return in_file(lambda file: inflate_into(buffer, position, end, size, file.write))
