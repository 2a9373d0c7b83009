"""Small durable steps on disk."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import Busy


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable: a rename is safe only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` durably and all at once; the caller holds a lock and is the only writer."""
    temporary = path.with_name(path.name + ".lock")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


@contextmanager
def locked(path: Path, patience: float = 30.0) -> Iterator[None]:
    """Hold the lock file ``path`` against every other thread and process; the kernel frees it when its holder dies.

    Raise Busy after ``patience`` seconds. Only threads may call this: it waits.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy("the repository is busy with another change; try again in a moment") from None
                time.sleep(0.002)
        yield
    finally:
        os.close(descriptor)
