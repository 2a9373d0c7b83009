"""Checkouts and mirrors as files; everything here blocks and runs in a thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from deployd.drone import built
from deployd.drone.problem import Hopeless
from deployd.errors import Refused, UnknownCommit
from deployd.git.limits import GitLimits
from deployd.git.mirror import checkouts, fetching, marks
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey

_log = Logger()

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


def clean(tree: Tree) -> tuple[list[CheckoutKey], list[tuple[str, str]]]:
    """Delete what a kill left half done; return the checkouts and the spare ones (app, commit), the oldest first."""
    spare = []
    # What a power cut may have hollowed is made again, which must not need the hub.
    used = {(key.app, key.commit) for key in _keys(tree)}
    for directory in _directories(tree.top / "checkouts"):
        checkouts.clean(directory)
        built.clean(directory)
    for directory in _directories(tree.top / "spare"):
        checkouts.clean(directory)
        spare.extend(_directories(directory))
    spare.sort(key=lambda path: path.stat().st_mtime)
    spares = [(_app(path.parent.name), path.name) for path in spare]
    _clean_mirrors(tree, used | set(spares))
    return _keys(tree), spares


def _keys(tree: Tree) -> list[CheckoutKey]:
    found = []
    for directory in _directories(tree.top / "checkouts"):
        for path in _directories(directory):
            release, _, commit = path.name.partition("-")
            found.append(CheckoutKey(_app(directory.name), release, commit))
    return found


def _clean_mirrors(tree: Tree, used: set[tuple[str, str]]) -> None:
    """Forget what was fetched and is checked out nowhere: nothing else would ever delete it."""
    mirrors = tree.top / "mirrors"
    fetching.clean(mirrors)
    for mirror in _directories(mirrors):
        app = _app(mirror.name.removesuffix(_MIRROR))
        try:
            for commit in fetching.commits(mirror):
                if (app, commit) not in used:
                    fetching.forget(mirror, commit)
        except Exception as error:  # a damaged mirror fails in many ways; its space can wait, the apps cannot
            _log.warn("cannot clean the mirror of {app}: {error!r}", app=app, error=error)


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


def has(mirror: Path, commit: str) -> bool:
    return mirror.is_dir() and fetching.has(mirror, commit)


def check_out(mirror: Path, commit: str, target: Path, limits: GitLimits) -> None:
    """Raise Hopeless for a commit that may not be checked out; one that is not whole is fetched anew next time.

    Either leaves nothing in the mirror: without a checkout nobody would delete it there.
    """
    if not target.is_dir():
        built.forget(target)
    try:
        checkouts.checkout(mirror, commit, target, limits)
    except UnknownCommit:
        fetching.forget(mirror, commit)
        raise
    except Refused as error:
        fetching.forget(mirror, commit)
        raise Hopeless(str(error)) from error


def remove(path: Path, mirror: Path | None, commit: str) -> None:
    """Delete a checkout, and ``commit`` out of ``mirror`` unless that is None."""
    built.forget(path)
    checkouts.remove(path)
    if mirror is not None and mirror.is_dir():
        fetching.forget(mirror, commit)


def newest_size(checkouts: Sequence[Path]) -> int | None:
    """What the last of these takes, with all that was built in it; None when there is none."""
    return size_of(checkouts[-1]) if checkouts else None


def tree_size(mirror: Path, commit: str) -> int | None:
    """What a checkout of ``commit`` will take; None if it is not whole."""
    try:
        return checkouts.size(mirror, commit)
    except KeyError:
        return None


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
