"""The hub's repositories: one bare git repository for each app, below one directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from deployd.errors import Refused, UnknownApp, UnknownCommit
from deployd.git.bare import clear_bare, is_bare, make_bare
from deployd.git.disk import locked, replace_file
from deployd.git.intents import forget_intent, moved_intents
from deployd.git.kinds import BLOB, COMMIT
from deployd.git.limits import GitLimits
from deployd.git.packs.history import History
from deployd.git.packs.replacing import index_again
from deployd.git.packs.store import Packs
from deployd.git.refs import DEPLOY, HEADS, LOCK, TAGS, Move, Refs, move_refs, read_refs
from deployd.model.intent import Intent
from deployd.model.names import app_name, is_commit, shown

_NEW = ".new-"
_MIN_PREFIX = 4
_REGULAR = (0o100644, 0o100755, 0o100664)


@frozen
class Repositories:
    """Blocking; the hub calls it in threads. Every method but ``clean`` may run in many threads at once."""

    root: Path
    limits: GitLimits = field(factory=GitLimits)

    def apps(self) -> list[str]:
        """The names of all apps, sorted."""
        return sorted(self._walk())

    def exists(self, app: str) -> bool:
        """Whether ``app`` has a repository. Raise Invalid when it is no app name."""
        return is_bare(self.path(app))

    def path(self, app: str) -> Path:
        """Where the repository of ``app`` is or would be. Raise Invalid when it is no app name."""
        return self.root / (app_name(app) + ".git")

    def create(self, app: str) -> bool:
        """Make the repository of ``app``, whole or not at all; return whether it was missing."""
        path = self.path(app)
        if self.exists(app):
            return False
        return make_bare(path, self.root, _NEW, durable=True)

    def discard_empty(self, app: str) -> None:
        """Take back a ``create`` whose push brought nothing. Does nothing when there are refs."""
        path = self.path(app)
        if self.exists(app) and not read_refs(path).values:
            gone = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
            path.rename(gone / "gone")
            shutil.rmtree(gone, ignore_errors=True)
            for parent in path.parents:
                if parent == self.root:
                    break
                with suppress(OSError):
                    parent.rmdir()

    def head(self, app: str) -> str | None:
        """The commit at the tip of the default branch; None before the first push. Raise UnknownApp."""
        refs = read_refs(self._known(app))
        value = refs.values.get(refs.head)
        return value.decode() if value else None

    def set_head(self, app: str, branch: str) -> None:
        """Make ``branch`` the default one, durably. Raise UnknownApp, or UnknownCommit when there is none."""
        path, name = self._known(app), HEADS + branch.encode()
        # No push may delete it in between.
        with locked(path / LOCK):
            if name not in read_refs(path).values:
                raise UnknownCommit(f"{app} has no branch {shown(branch)}; push it first")
            replace_file(path / "HEAD", b"ref: " + name + b"\n")

    def resolve(self, app: str, text: str) -> str:
        """The commit that ``text`` names: ``HEAD``, a branch, a tag, a full id or the beginning of one.

        Raise UnknownApp, or UnknownCommit with a sentence that also says when a beginning is not enough.
        """
        path = self._known(app)
        refs = read_refs(path)
        with Packs(path / "objects") as packs:
            value = _named(refs, text)
            found = History(packs).commit_at(value) if value else _by_id(packs, app, text)
        if found is None:
            raise UnknownCommit(f"{app} has no commit, branch or tag {shown(text)}; push it first")
        return found.hex()

    def keep(self, app: str, commit: str) -> None:
        """Keep ``commit`` reachable for ever under ``refs/deploy/``, durably. Raise UnknownApp or UnknownCommit."""
        path = self._known(app)

        def look() -> None:
            with Packs(path / "objects") as packs:
                if not is_commit(commit) or packs.kind(bytes.fromhex(commit)) != COMMIT:
                    raise UnknownCommit(f"{app} has no commit {shown(commit)}; push it first")

        look()
        name = DEPLOY + commit.encode()
        if name not in read_refs(path).values:
            # Once more, under the lock (Note [Dropping beside pushes] in deployd.git.packs.dropping).
            move_refs(path, [Move(name, None, commit.encode())], before=lambda _: look())

    def intents(self, app: str, id: str = "*") -> list[Intent]:
        """The deploys that pushes ask for which have moved their refs, and nobody has forgotten; or only that one.

        Raise Busy, OSError.
        """
        return moved_intents(self.path(app), id)

    def forget(self, app: str, id: str) -> None:
        """What an intent was for is saved, or refused. Raise OSError."""
        forget_intent(self.path(app), id)

    def read_file(self, app: str, commit: str, name: str, limit: int) -> bytes | None:
        """The content of the file ``name`` (``/`` between directories) in ``commit``; None when there is none.

        Raise Refused when it is longer than ``limit`` bytes or no regular file.
        """
        with Packs(self._known(app) / "objects") as packs:
            entry = History(packs).entry(bytes.fromhex(commit), os.fsencode(name)) if is_commit(commit) else None
            if entry is None:
                return None
            mode, object_id = entry
            if mode not in _REGULAR:
                raise Refused(f"{shown(name)} is not a regular file in commit {commit[:12]}")
            found = packs.kind_and_size(object_id)
            if found is None or found[0] != BLOB:
                raise UnknownCommit(f"{app} has only a part of commit {commit[:12]}")
            if found[1] > limit:
                raise Refused(f"{shown(name)} in commit {commit[:12]} has {found[1]} bytes; the limit is {limit}")
            return packs.read(object_id)[1]

    def absent(self, app: str, commit: str, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that are no regular file in ``commit``."""
        with Packs(self._known(app) / "objects") as packs:
            history, id = History(packs), bytes.fromhex(commit)
            entries = {name: history.entry(id, os.fsencode(name)) for name in names}
        return [name for name, entry in entries.items() if entry is None or entry[0] not in _REGULAR]

    def clean(self) -> None:
        """Remove what a kill left behind. Call it before anything else uses the repositories."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self.root.glob(_NEW + "*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for app in self.apps():
            clear_bare(self.path(app))
            index_again(self.path(app))

    def _known(self, app: str) -> Path:
        if not self.exists(app):
            raise UnknownApp(f"there is no app {shown(app)} on the hub; `git push` creates it")
        return self.path(app)

    def _walk(self) -> Iterator[str]:
        for directory, names, _ in os.walk(self.root):
            inner = [name for name in names if not name.startswith(".")]
            names[:] = [name for name in inner if not name.endswith(".git")]
            for name in inner:
                path = Path(directory, name)
                if name.endswith(".git") and is_bare(path):
                    yield str(path.relative_to(self.root))[: -len(".git")]


def _named(refs: Refs, text: str) -> bytes | None:
    name = os.fsencode(text) if len(text) < 1000 and "\0" not in text else b""
    if name == b"HEAD":
        return refs.values.get(refs.head)
    for candidate in (name, b"refs/" + name, TAGS + name, HEADS + name):
        if candidate.startswith((TAGS, HEADS)) and candidate in refs.values:
            return refs.values[candidate]
    return None


def _by_id(packs: Packs, app: str, text: str) -> bytes | None:
    if is_commit(text):
        object_id = bytes.fromhex(text)
        return object_id if packs.kind(object_id) == COMMIT else None
    digits = text.lower()
    if not _MIN_PREFIX <= len(digits) < 40 or digits.strip("0123456789abcdef"):
        return None
    found = {object_id for object_id in packs.starting_with(digits) if packs.kind(object_id) == COMMIT}
    if len(found) > 1:
        raise UnknownCommit(f"{len(found)} commits of {app} begin with {digits}; give more of its id")
    return found.pop() if found else None
