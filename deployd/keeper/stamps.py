"""Times of records that only ever grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


class Stamps:
    """Microseconds since 1970, each above all before, though somebody sets the clock back.

    Note [The newest stamp]
    ~~~~~~~~~~~~~~~~~~~~~~~
    The last one given is in ``path``, written before the records themselves. The kernel keeps
    that through any death of the keeper. A power cut may lose it, then ``newest``, the newest name of a segment, and
    the clock are left; only one set back beyond that in the same moment could make records that are older than others.
    """

    def __init__(self, path: Path, newest: int = 0, clock: Callable[[], int] = time.time_ns) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._clock = clock
        self.last = max(newest, int.from_bytes(os.pread(self._file, 8, 0), "big"))

    def next(self) -> int:
        self.last = max(self.last + 1, self._clock() // 1000)
        return self.last

    def save(self) -> None:
        """Raise OSError where the disk is full."""
        os.pwrite(self._file, self.last.to_bytes(8, "big"), 0)

    def close(self) -> None:
        os.close(self._file)
