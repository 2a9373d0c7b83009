"""A bare repository as a directory: made whole or not at all, and cleared of what a kill has left in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from deployd.git.disk import sync_directory
from deployd.git.packs.chart import DIRECTORY, TEMPORARY
from deployd.git.packs.replacing import UNFINISHED
from deployd.git.receiving.quarantine import PREFIX

_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
_HEAD = b"ref: refs/heads/master\n"


def is_bare(path: Path) -> bool:
    """Whether there is a repository at ``path``."""
    return (path / "HEAD").is_file()


def make_bare(path: Path, above: Path, prefix: str, *, durable: bool) -> bool:
    """Make an empty repository at ``path``; return False when somebody else's came first.

    Until it is whole it lies in ``above``, under a name that begins with ``prefix``. ``durable``: it is on the disk
    then; without, nobody waits for that.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
    try:
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (new / name).mkdir(parents=True)
        (new / "config").write_bytes(_CONFIG)
        (new / "HEAD").write_bytes(_HEAD)
        if durable:
            _sync_tree(new)
        try:
            new.rename(path)
        except OSError:
            if not is_bare(path):
                raise
            return False
        if durable:
            sync_directory(path.parent)
        return True
    finally:
        shutil.rmtree(new, ignore_errors=True)


def clear_bare(path: Path) -> None:
    """Remove the quarantines, locks and half-written files that a kill left; nobody else is there."""
    objects = path / "objects"
    for unfinished in (*(objects / "pack").glob(UNFINISHED + "*"), *(path / DIRECTORY).glob(TEMPORARY + "*")):
        unfinished.unlink(missing_ok=True)
    for leftover in objects.glob(PREFIX + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for lock in (*path.glob("*.lock"), *(path / DIRECTORY).glob("*.lock"), *(path / "refs").rglob("*.lock")):
        lock.unlink(missing_ok=True)


def _sync_tree(top: Path) -> None:
    for directory, _, files in os.walk(top):
        for name in files:
            with Path(directory, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(directory))
