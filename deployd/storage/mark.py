"""How far a store had come when it was opened last, in a small file beside it."""

from __future__ import annotations

import os
from pathlib import Path


def mark_path(store: Path) -> Path:
    """Not a name that begins as the store's does: who copies ``hub.sqlite*`` back should leave the mark alone."""
    return store.with_suffix(".opened")


def read_mark(store: Path) -> int:
    """The counter in the mark; 0 when there is none, or it is no number. Raise OSError."""
    try:
        return int(mark_path(store).read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def write_mark(store: Path, counter: int) -> None:
    """Replace the mark, whole or not at all, durably; raise OSError."""
    path = mark_path(store)
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{counter}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
