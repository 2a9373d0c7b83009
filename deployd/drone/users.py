"""A user of its own for each app, where the drone is root.

Note [Lowering a start]
~~~~~~~~~~~~~~~~~~~~~~~
An app's environment is whoever's who pushes or sets its config, and much in it (``LD_PRELOAD``, ``PATH``, ``BASH_ENV``)
makes a program do what it says. So what runs as root before the app, to enter its groups and lower itself, must not
have it: each variable goes under a harmless name until the user is the app's, and only then gets its own. Values stay
out of the arguments, which everybody can read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock

from deployd.errors import Refused
from deployd.git.disk import replace_file
from deployd.processes.environment import SYSTEM_PATH

_KNOWN = "PROCESS_ID"
"""The one variable that keeps its name: the app's processes are known by it."""
OPEN = 0o711
"""The mode of directories through which every app gets to what is its own."""
_APPS = ("checkouts", "caches", "tmp")
"""What is in the state directory for apps; the rest is the drone's."""
_DRONES = ("logs", "mirrors", "spare", "configs")
# A pipe that is root's could be written to, but not opened anew, as many do with /dev/stdout.
_GIVE = 'for fd in 0 1 2; do [ ! -p /proc/self/fd/$fd ] || "$1" "$2" /proc/self/fd/$fd; done; shift 2; exec "$@"'


class Users:
    """Users ``first`` to ``last`` (and groups of the same numbers), which nobody else may use. ``directory`` is the
    drone's state directory, in which it is kept whose each is: for good, since files may be left of it."""

    def __init__(self, first: int, last: int, directory: Path) -> None:
        self.first, self.last = first, last
        self._directory = directory
        self._file = directory / "app-users.json"
        self._lock = Lock()
        self._of: dict[str, int] = {}
        if self._file.exists():
            self._of = _read(self._file)

    def open(self) -> None:
        """Let apps through the state directory to what is theirs, and to nothing else. Blocks; raise Refused."""
        if os.geteuid() != 0:
            raise Refused("--app-users needs a drone that is root, and this one is not")
        closed = [path for path in self._directory.parents if not path.stat().st_mode & 0o001]
        if closed:
            raise Refused(
                f"--app-users: no app gets through {closed[0]} to the state directory in it; give --state-dir"
            )
        for name in ("setpriv", "chown"):
            tool(name)
        for name in _DRONES:
            (self._directory / name).mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            if path.name not in _APPS and not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)
        for name in _APPS:
            path = self._directory / name
            path.mkdir(exist_ok=True)
            path.chmod(OPEN)
            for private in path.iterdir():
                # A directory that was an app's of the drone's own user: who owns it is seen to before the next start.
                if private.stat().st_uid == 0 and private.stat().st_mode & 0o007:
                    private.chmod(0o700)

    def of(self, app: str) -> int:
        """The user of an app; raise Refused when there is none left. Blocks where the app is new."""
        if app in self._of:
            return self._of[app]
        with self._lock:
            if app not in self._of:
                free = set(range(self.first, self.last + 1)) - set(self._of.values())
                if not free:
                    raise Refused(f"no user is left for {app} of {self.first}-{self.last}: give --app-users more")
                known = self._of | {app: min(free)}
                try:
                    replace_file(self._file, json.dumps(known).encode())
                    self._file.chmod(0o600)
                except OSError as error:
                    raise Refused(f"the user of {app} cannot be saved: {error.strerror}") from None
                self._of = known
            return self._of[app]

    def own(self, app: str, tree: Path) -> None:
        """Make ``tree``, in a directory for that app alone, the app's; nothing of the app has run in it unless it is
        already. Blocks; raise Refused."""
        user = self.of(app)
        try:
            os.chown(tree.parent, 0, user)
            tree.parent.chmod(0o710)
            if tree.lstat().st_uid == user:
                return
            # From below: in what has been given away, another process of the app may put links, and nobody goes there.
            for _, directories, files, within in os.fwalk(tree, topdown=False):
                # What is the app's already was given away before a kill.
                if os.fstat(within).st_uid != user:
                    for name in (*directories, *files):
                        os.chown(name, user, user, dir_fd=within, follow_symlinks=False)
            # Last: it says that all of it is done.
            os.lchown(tree, user, user)
        except OSError as error:
            raise Refused(f"{app} cannot be given its files: {error.strerror}") from None

    def own_directory(self, app: str, path: Path) -> None:
        """An empty directory beside those of others; raise OSError."""
        user = self.of(app)
        os.lchown(path, user, user)

    def lowered(
        self, app: str, argv: tuple[str, ...], env: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """``argv`` and ``env`` as they are given to root so that the app's user has them (Note [Lowering a start])."""
        user = str(self.of(app))
        renamed = {name: f"deployd_{number}" for number, name in enumerate(env) if name != _KNOWN}
        restore = [f'{name}="${harmless}"' for name, harmless in renamed.items()]
        exported = f"export {' '.join(restore)}; unset {' '.join(renamed.values())}; " if renamed else ""
        lower = (
            *(tool("setpriv"), "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all"),
            *("--no-new-privs", "--", "/bin/sh", "-c", exported + 'exec "$@"', "sh", *argv),
        )
        given = ("/bin/sh", "-c", _GIVE, "sh", tool("chown"), user, *lower)
        return given, {renamed.get(name, name): value for name, value in env.items()}


def _read(file: Path) -> dict[str, int]:
    try:
        known = json.loads(file.read_bytes())
        return {str(app): int(user) for app, user in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        raise Refused(f"{file} cannot be read: whose files are whose is in it; restore it") from None


@cache
def tool(name: str) -> str:
    """The path of a system's program, whatever PATH an app has."""
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise Refused(f"{name}, which deployd needs for --app-users, is not on this machine")
    return found
