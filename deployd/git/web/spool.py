"""Where the bodies of requests wait until they are whole and a worker has read them; together they are bounded."""

from __future__ import annotations

import errno
from tempfile import SpooledTemporaryFile
from typing import Any

from attrs import define

_IN_MEMORY = 100_000
_FULL = "Too much is being sent to it at once, try again in a moment"


@define
class Spool:
    """Files without names in ``directory``, the short ones in memory; ``used`` of ``most`` bytes are in all of them."""

    directory: str
    most: int
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

    def write(self, data: Any) -> int:
        """Raise OSError where there is no room for ``data``."""
        if self._spool.used + len(data) > self._spool.most:
            raise OSError(errno.EDQUOT, _FULL)
        self._used += len(data)
        self._spool.used += len(data)
        return super().write(data)

    def close(self) -> None:
        """It is needed no more."""
        self._spool.used -= self._used
        self._used = 0
        super().close()
