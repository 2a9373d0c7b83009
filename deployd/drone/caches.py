"""What cached build steps make, on disk; everything here blocks and runs in a thread.

Note [Cached builds]
~~~~~~~~~~~~~~~~~~~~
A cached step runs in a directory of its own, which has nothing but the files that it names. So what it makes can
depend on nothing else in the commit, and may be shared by all commits that have the same files: its directory is named
after a digest of them, of the command and of the system. It keeps that path for good, since what is made there (a
virtual environment) often has its own path in it. That it is complete is said by a file beside it, which is written
when all of it is on disk; what has no such file is made anew.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from errno import ELOOP, ENOENT, ENOTDIR
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path, PurePosixPath
from time import time

from attrs import frozen

from deployd.drone import beneath
from deployd.drone.disk import size_of
from deployd.drone.problem import BuildFailed
from deployd.git.disk import delete_tree, replace_file
from deployd.model.role import BuildStep
from deployd.planning.disk import Stored

_SLASH, _DONE, _HOME, _TEMPORARY = "+", ".done", ".home", ".tmp-"


@frozen(order=True)
class CacheKey:
    app: str
    digest: str


def key_of(app: str, step: BuildStep, checkout: Path) -> CacheKey:
    """The cache in which ``step`` of a commit in ``checkout`` runs; raise BuildFailed if it lacks one of the files."""
    facts = [step.command, sorted(step.makes), _system(), [[name, _digest(checkout, name)] for name in step.cache]]
    return CacheKey(app, sha256(json.dumps(facts).encode()).hexdigest()[:32])


@frozen
class Caches:
    """The directories below ``top``: ``APP/DIGEST``, and ``APP/.home``, which all builds of an app have as HOME."""

    top: Path

    def directory(self, key: CacheKey) -> Path:
        return self._app(key.app) / key.digest

    def home(self, app: str) -> Path:
        return self._app(app) / _HOME

    def is_complete(self, key: CacheKey) -> bool:
        return self._done(key).is_file() and self.directory(key).is_dir()

    def begin(self, key: CacheKey, names: Iterable[str], checkout: Path) -> None:
        """Make the directory of ``key`` anew, with these files of ``checkout``; nothing runs in it."""
        self.remove(key)
        directory = self.directory(key)
        directory.mkdir(parents=True)
        for name in names:
            target = directory / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with _opened(checkout, name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                os.fchmod(copy.fileno(), 0o755 if _is_executable(source) else 0o644)

    def complete(self, key: CacheKey, makes: Iterable[str]) -> None:
        """The step has ended well in the directory; raise BuildFailed if it has not left what it makes."""
        directory = self.directory(key)
        for name in makes:
            if not os.path.lexists(directory / _inside(name)):
                raise BuildFailed(f"the build did not make {name}")
        size = size_of(directory)
        sync(directory)
        replace_file(self._done(key), json.dumps({"size": size}).encode())

    def link(self, key: CacheKey, makes: Iterable[str], checkout: Path) -> None:
        """Lead ``checkout`` to what was made; raise BuildFailed where the commit has files of its own in its place."""
        for name in makes:
            try:
                is_linked = beneath.link(checkout, _inside(name), self.directory(key) / name, self.top)
            except OSError as error:
                raise BuildFailed(f"{name} cannot be made a link in the checkout: {error.strerror}") from None
            if not is_linked:
                raise BuildFailed(f"the build makes {name}, but the commit has its own {name}: it can have only one")
        os.utime(self._done(key))

    def remove(self, key: CacheKey) -> None:
        self._done(key).unlink(missing_ok=True)
        remove_tree(self.directory(key))

    def empty_home(self, app: str) -> None:
        _size_file(self.home(app)).unlink(missing_ok=True)
        remove_tree(self.home(app))
        # A build may have begun just now.
        self.home(app).mkdir(exist_ok=True)

    def measure_home(self, app: str) -> None:
        """Save how large it is; its package managers' downloads grow with each build."""
        _size_file(self.home(app)).write_text(str(size_of(self.home(app))))

    def complete_ones(self) -> Iterator[tuple[CacheKey, Stored]]:
        """Each cache that is complete, as it was used last."""
        for done in self.top.glob(f"*/*{_DONE}"):
            key = CacheKey(_app_name(done.parent), done.name.removesuffix(_DONE))
            try:
                size = int(json.loads(done.read_bytes())["size"])
                used = done.stat().st_mtime
            except (OSError, ValueError, KeyError, TypeError):
                continue
            yield key, Stored(used, f"cache {key.app} {key.digest}", size)

    def homes(self) -> Iterator[tuple[str, Stored]]:
        for home in self.top.glob(f"*/{_HOME}"):
            app = _app_name(home.parent)
            try:
                found = _size_file(home)
                yield app, Stored(found.stat().st_mtime, f"home {app}", int(found.read_text()))
            except (OSError, ValueError):
                yield app, Stored(time(), f"home {app}", 0)

    def incomplete_ones(self) -> list[CacheKey]:
        """What a kill has left half made, or half removed."""
        found = []
        for directory in self.top.glob("*/*"):
            if directory.is_dir() and not directory.name.startswith("."):
                key = CacheKey(_app_name(directory.parent), directory.name)
                if not self._done(key).is_file():
                    found.append(key)
        return found

    def clean(self) -> list[str]:
        """Delete what a kill has left of what nobody can be using any more. Call it once, first.

        Return the tasks that had begun: something of them may still run.
        """
        begun = list(self.top.glob(f"*/{_TEMPORARY}*"))
        for gone in (*self.top.glob("*/.gone-*"), *begun):
            delete_tree(gone)
        return [path.name.removeprefix(_TEMPORARY) for path in begun]

    def temporary(self, app: str, task: str) -> Path:
        """The TMPDIR of a build task, new and empty."""
        path = self._app(app) / f"{_TEMPORARY}{task}"
        delete_tree(path)
        path.mkdir(parents=True)
        self.home(app).mkdir(exist_ok=True)
        return path

    def _app(self, app: str) -> Path:
        return self.top / app.replace("/", _SLASH)

    def _done(self, key: CacheKey) -> Path:
        return self._app(key.app) / f"{key.digest}{_DONE}"


def remove_tree(path: Path) -> None:
    """Delete a directory that may be large: out of sight at once, then bit by bit."""
    gone = path.with_name(f".gone-{path.name}-{os.urandom(4).hex()}")
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    delete_tree(gone)


def sync(path: Path) -> None:
    """Wait until all that was written to the file system of ``path`` is on disk: one call, where files are many."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _digest(checkout: Path, name: str) -> str:
    with _opened(checkout, name) as file:
        return file_digest(file, "sha256").hexdigest() + ("x" if _is_executable(file) else "")


def _opened(checkout: Path, name: str) -> BufferedReader:
    try:
        return beneath.opened(checkout, _inside(name))
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            raise BuildFailed(f"the build's cache is kept by {name}, which the commit does not have") from None
        why = "it is a link" if error.errno == ELOOP else error.strerror
        raise BuildFailed(f"the build's cache cannot be kept by {name}: {why}") from None


def _is_executable(file: BufferedReader) -> bool:
    return bool(os.fstat(file.fileno()).st_mode & 0o100)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise BuildFailed(f"{name!r} is not a path within the checkout")
    return name


def _system() -> list[str]:
    """What compiled files depend on beside the sources: an upgrade of the system must not keep the old ones."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    return [os.uname().machine, libc or "", release.get("ID", ""), release.get("VERSION_ID", "")]


def _size_file(home: Path) -> Path:
    return home.with_name(f"{_HOME}-size")


def _app_name(directory: Path) -> str:
    return directory.name.replace(_SLASH, "/")
