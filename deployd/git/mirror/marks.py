"""Marks of files that were written without waiting for the disk.

Waiting for the disk costs a deploy milliseconds per file, and a checkout can be made again from the mirror. So it is
written without, marked with the id of this boot, and the mark is removed when the disk has caught up (``settle``).
After a power cut the boot id is another one: what is still marked then may be hollow, and is made again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PREFIX = ".unsettled-"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def mark(target: Path) -> None:
    """Say that ``target``, which is about to appear, is not on disk yet."""
    _path(target).write_text(_boot())


def is_hollow(target: Path) -> bool:
    """Whether ``target`` was written during an earlier boot and may never have reached the disk."""
    try:
        return _path(target).read_text() != _boot()
    except FileNotFoundError:
        return False


def settle(target: Path) -> None:
    """Wait until everything below ``target`` is on disk, then remove its mark. Slow: never on the way of a deploy."""
    for directory, _, files in os.walk(target):
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                with suppress(FileNotFoundError):
                    _sync(path, os.O_RDONLY)
        with suppress(FileNotFoundError):
            _sync(Path(directory), os.O_RDONLY | os.O_DIRECTORY)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    unmark(target)


def unmark(target: Path) -> None:
    """Forget the mark of ``target``."""
    _path(target).unlink(missing_ok=True)


def _path(target: Path) -> Path:
    return target.with_name(PREFIX + target.name)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text()
    except OSError:
        # No boot id (not Linux): then a mark is never trusted after a restart.
        return ""


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
