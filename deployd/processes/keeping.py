"""Where the keeper of a drone is found: files in the drone's state directory.

Note [One keeper]
~~~~~~~~~~~~~~~~~
The lock says whether there is a keeper, and the kernel drops it with the process. The socket's file says nothing: it
is what the last keeper has left, and is replaced under the lock.

Note [Long paths]
~~~~~~~~~~~~~~~~~
The kernel takes no path of a socket that is longer than 108 bytes. A longer one goes through a descriptor of the
directory in /proc; but a process that cannot be read by others of its user (deployd.processes.hardening) cannot read
itself there either, unless it is root. Then it goes through a link in a temporary directory, which is ours alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

_NAME = "keeper.sock"
_LONGEST = 107


class Place:
    """``directory`` is there already."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "keeper.log"
        self.stamp = directory / "keeper.stamp"
        self.logs = directory / "logs"
        self._lock = directory / "keeper.lock"
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.socket = self._short(directory.absolute())

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

    def _short(self, directory: Path) -> str:
        """By the rules of Note [Long paths]."""
        plain = directory / _NAME
        if len(os.fsencode(plain)) <= _LONGEST:
            return str(plain)
        descriptor = f"/proc/self/fd/{self._directory}"
        return f"{descriptor if os.access(descriptor, os.X_OK) else _link(directory)}/{_NAME}"


def _link(directory: Path) -> Path:
    """A short name for ``directory``; the same one each time, so that nothing is left behind each time."""
    own = Path(tempfile.gettempdir(), f"deployd-{os.geteuid()}")
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "is not this user's alone", str(own))
    link = own / sha256(os.fsencode(directory)).hexdigest()[:16]
    with suppress(FileExistsError):
        link.symlink_to(directory)
    return link
