"""Where the bodies of requests wait until they are whole and a worker has read them; together they are bounded."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import Any

from attrs import define

_IN_MEMORY = 100_000
# To give the disk's blocks of a file back takes long for a large one: 15 ms for 80 MB.
_LARGE = 1 << 20
_FULL = "Too much is being sent to it at once, try again in a moment"


@define
class Spool:
    """Files without names in ``directory``, the short ones in memory; ``used`` of ``most`` bytes are in all of them.

    ``in_thread`` has a function that blocks called in a thread.
    """

    directory: str
    most: int
    in_thread: Callable[[Callable[[], object]], object]
    used: int = 0

    def open(self) -> SpoolFile:
        """A place for one body."""
        return SpoolFile(self)


class SpoolFile(SpooledTemporaryFile[bytes]):
    """One body. Its room is free when it is closed."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(max_size=_IN_MEMORY, dir=spool.directory)
        self._spool = spool
        self._used = 0
        self._ended = False

    def write(self, data: Any) -> int:
        """Raise OSError where there is no room for ``data``."""
        if self._spool.used + len(data) > self._spool.most:
            raise OSError(errno.EDQUOT, _FULL)
        self._used += len(data)
        self._spool.used += len(data)
        return super().write(data)

    def close(self) -> None:
        """It is needed no more."""
        if self._ended:
            return
        self._ended = True
        self._spool.used -= self._used
        if self._used < _LARGE:
            self._give_up()
        else:
            self._spool.in_thread(self._give_up)

    def _give_up(self) -> None:
        # It writes what it has in memory, for which there may be no room, and nobody wants it.
        with suppress(OSError):
            super().close()
