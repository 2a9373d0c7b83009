"""Files below a directory that an app may write into: no link on the way to one leads anywhere else.

An app can put a link wherever its user may write, at any moment, and the drone may be root.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe would keep whoever opens it waiting.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def directory(top: Path, name: str, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory that has ``name`` below ``top``; with ``make`` it is made. Raise OSError."""
    descriptor = os.open(top, _DIRECTORY)
    try:
        for part in PurePosixPath(name).parent.parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=descriptor)
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def opened(top: Path, name: str) -> BufferedReader:
    """The regular file ``name`` below ``top``, to be read; raise OSError."""
    with directory(top, name) as parent:
        descriptor = os.open(PurePosixPath(name).name, _FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(name)
    return os.fdopen(descriptor, "rb")


def link(top: Path, name: str, goal: Path, ours: Path) -> bool:
    """Make ``name`` below ``top`` a link to ``goal``, in place of one that leads below ``ours``; False where something
    else is there. Raise OSError."""
    last = PurePosixPath(name).name
    with directory(top, name, make=True) as parent:
        with suppress(OSError):
            found = Path(os.readlink(last, dir_fd=parent))
            if found == goal:
                return True
            if found.is_relative_to(ours):
                os.unlink(last, dir_fd=parent)
        try:
            os.symlink(goal, last, dir_fd=parent)
        except FileExistsError:
            return False
        return True
