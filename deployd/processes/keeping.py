"""Where the keeper of a drone is found: files in the drone's state directory.

Note [One keeper]
~~~~~~~~~~~~~~~~~
The lock says whether there is a keeper, and the kernel drops it with the process. The socket's file says nothing: it
is what the last keeper has left, and is replaced under the lock. Its path goes through a descriptor of the directory,
as the kernel takes no longer ones than 108 bytes.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Place:
    """``directory`` is there already."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "keeper.log"
        self.stamp = directory / "keeper.stamp"
        self.logs = directory / "logs"
        self._lock = directory / "keeper.lock"
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.socket = f"/proc/self/fd/{self._directory}/keeper.sock"

    def hold(self) -> bool:
        """Whether this process is the keeper from now on, and as long as it lives."""
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        Path(self.socket).unlink(missing_ok=True)
        return True
