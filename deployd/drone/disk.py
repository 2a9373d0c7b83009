"""Checkouts and mirrors as files; everything here blocks and runs in a thread."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from deployd.drone.problem import Hopeless
from deployd.errors import Refused, UnknownCommit
from deployd.git import checkouts, fetching, marks
from deployd.git.limits import GitLimits
from deployd.planning.reconcile import CheckoutKey

_log = Logger()

_SLASH, _MIRROR = "+", ".git"


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
    checkouts.remove(path)
    if mirror is not None and mirror.is_dir():
        fetching.forget(mirror, commit)


def _directories(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
