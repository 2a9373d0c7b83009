"""Checkouts and mirrors as files; everything here blocks and runs in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from deployd.drone import built
from deployd.git.mirror import checkouts, marks
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey

_SLASH, _MIRROR = "+", ".git"
_SECTOR = 512


@frozen
class Tree:
    """The paths below a drone's state directory.

    ``+`` stands for the ``/`` of an app's name: ``team`` may have a release ``v3`` while an app is ``team/v3``.
    """

    top: Path

    def mirror(self, app: str) -> Path:
        return self.top / "mirrors" / f"{app.replace('/', _SLASH)}{_MIRROR}"

    def checkout(self, key: CheckoutKey) -> Path:
        return self.top / "checkouts" / key.app.replace("/", _SLASH) / f"{key.release}-{key.commit}"

    def spare(self, app: str, commit: str) -> Path:
        return self.top / "spare" / app.replace("/", _SLASH) / commit


@frozen
class Found:
    """What a drone finds when it starts; ``spares`` are (app, commit), the oldest first."""

    checkouts: list[CheckoutKey]
    spares: list[tuple[str, str]]
    mirrors: list[str]
    used: set[tuple[str, str]]
    """(app, commit) of all that was checked out, what a power cut may have hollowed too: it is made again, which must
    not need the hub."""


def clean(tree: Tree) -> Found:
    """Delete what a kill left half done, and say what is there."""
    spare = []
    used = {(key.app, key.commit) for key in _keys(tree)}
    for directory in _directories(tree.top / "checkouts"):
        checkouts.clean(directory)
        built.clean(directory)
    for directory in _directories(tree.top / "spare"):
        checkouts.clean(directory)
        spare.extend(_directories(directory))
    checkouts.clean(tree.top / "mirrors")
    spare.sort(key=lambda path: path.stat().st_mtime)
    spares = [(_app(path.parent.name), path.name) for path in spare]
    mirrors = [_app(path.name.removesuffix(_MIRROR)) for path in _directories(tree.top / "mirrors")]
    return Found(_keys(tree), spares, mirrors, used | set(spares))


def _keys(tree: Tree) -> list[CheckoutKey]:
    found = []
    for directory in _directories(tree.top / "checkouts"):
        for path in _directories(directory):
            release, _, commit = path.name.partition("-")
            found.append(CheckoutKey(_app(directory.name), release, commit))
    return found


def _app(name: str) -> str:
    return name.replace(_SLASH, "/")


def take_spare(spare: Path, target: Path) -> bool:
    """Make a spare checkout the one of a release; False when there is none, or the release has one already."""
    if target.is_dir() or not spare.is_dir() or marks.is_hollow(spare):
        return False
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    built.forget(target)
    marks.mark(target)
    spare.rename(target)
    marks.unmark(spare)
    return True


def make_way(target: Path) -> None:
    """Before a checkout is made: what is said of one that is gone does not hold for it."""
    if not target.is_dir():
        built.forget(target)


def remove(path: Path) -> None:
    """Delete a checkout."""
    built.forget(path)
    checkouts.remove(path)


def newest_size(checkouts: Sequence[Path]) -> int | None:
    """What the last of these takes, with all that was built in it; None when there is none."""
    return size_of(checkouts[-1]) if checkouts else None


def stored(tree: Tree, spares: Iterable[tuple[str, str]]) -> list[Stored]:
    """These spare checkouts, with their sizes."""
    found = []
    for app, commit in spares:
        path = tree.spare(app, commit)
        try:
            found.append(Stored(path.stat().st_mtime, f"spare {app} {commit}", size_of(path)))
        except FileNotFoundError:
            continue
    return found


def spare_of(stored: Stored) -> tuple[str, str]:
    _, app, commit = stored.name.split(" ")
    return app, commit


def size_of(top: Path) -> int:
    """The bytes that everything below ``top`` takes on disk; what goes meanwhile does not count."""
    total = 0
    waiting = [str(top)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * _SECTOR
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return total


def _directories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
