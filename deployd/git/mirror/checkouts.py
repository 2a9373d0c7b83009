"""Checkouts as directories: deleting one, and what a kill has left of others. Needs no git."""

from __future__ import annotations

import os
from pathlib import Path

from deployd.git.disk import delete_tree
from deployd.git.mirror import marks

NEW, MIRROR = ".checkout-", ".mirror-"
"""Of the names of what is not whole yet."""
_GONE = ".gone-"


def remove(target: Path) -> None:
    """Delete a checkout: out of sight at once, then bit by bit. Nothing happens when it is not there."""
    gone = target.parent / f"{_GONE}{target.name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        target.rename(gone)
    except FileNotFoundError:
        return
    finally:
        marks.unmark(target)
    delete_tree(gone)


def clean(directory: Path) -> None:
    """Delete what a kill or a power cut left in a directory of checkouts or mirrors, while nothing is made there."""
    if not directory.is_dir():
        return
    for path in list(directory.iterdir()):
        if path.name.startswith((NEW, MIRROR, _GONE)):
            delete_tree(path)
        elif path.name.startswith(marks.PREFIX):
            target = path.with_name(path.name[len(marks.PREFIX) :])
            if not target.exists():
                path.unlink(missing_ok=True)
            elif marks.is_hollow(target):
                remove(target)
