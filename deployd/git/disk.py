"""Small durable steps on disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

from deployd.errors import Busy

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable: a rename is safe only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def at_once(*steps: Callable[[], object]) -> None:
    """Do ``steps`` at the same time, each in a thread; raise what the first of them raised once all are done.

    Several files that are synced at once share a commit of the file system's journal, and cost as much as one.
    """
    with ThreadPoolExecutor(len(steps)) as threads:
        for done in [threads.submit(step) for step in steps]:
            done.result()


def replace_file(path: Path, content: bytes, before: Callable[[], object] = lambda: None) -> None:
    """Write ``content`` to ``path`` durably and all at once; the caller holds a lock and is the only writer.

    ``before`` is done by the time that the content can be seen, and may run in another thread.
    """
    temporary = path.with_name(path.name + ".lock")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            at_once(before, partial(os.fsync, file.fileno()))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def delete_tree(top: Path) -> None:
    """Delete a directory that an app may have filled, and follow no link; what cannot be deleted is left.

    ``shutil.rmtree`` fails where an app has made more directories inside each other than Python has levels, or more
    than there are descriptors, or has forbidden itself to write into them.
    """
    for _ in range(2):
        with suppress(RecursionError):
            shutil.rmtree(top, ignore_errors=True)
        if not os.path.lexists(top):
            return
        with suppress(OSError):
            _flatten(top)


def _flatten(top: Path) -> None:
    """Move each directory below ``top`` up into ``top`` itself."""
    names = (f".flat-{os.urandom(4).hex()}-{number}" for number in count())
    above = os.open(top, _DIRECTORY)
    try:
        os.fchmod(above, 0o700)
        waiting = _directories(above)
        while waiting:
            with suppress(OSError):
                inner = os.open(waiting.pop(), _DIRECTORY, dir_fd=above)
                try:
                    for name, new in zip(_directories(inner), names, strict=False):
                        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=above)
                        waiting.append(new)
                finally:
                    os.close(inner)
    finally:
        os.close(above)


def _directories(above: int) -> list[str]:
    """The names of the directories in one; from now on they can be written into, and so be moved."""
    with os.scandir(above) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names:
        with suppress(OSError):
            inner = os.open(name, _DIRECTORY, dir_fd=above)
            os.fchmod(inner, 0o700)
            os.close(inner)
    return names


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
