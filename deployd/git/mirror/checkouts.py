"""A commit's files in a directory: whole or not at all, and never outside of it.

The tree is written beside its place by names relative to open directories, so that no link can lead a write elsewhere,
and then renamed into place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from deployd.errors import Refused, UnknownCommit
from deployd.git.disk import delete_tree
from deployd.git.entry_names import is_dot_gitmodules, unsafe
from deployd.git.kinds import BLOB, COMMIT, TREE
from deployd.git.limits import GitLimits
from deployd.git.mirror import marks
from deployd.git.packs.history import commit_tree, tree_entries
from deployd.git.packs.store import Packs

_NEW, _GONE = ".checkout-", ".gone-"
_DIRECTORY, _LINK, _SUBMODULE = 0o040000, 0o120000, 0o160000
_LFS = b"version https://git-lfs.github.com/spec/v1"
_MAX_LINK = 4095
_BLOCK = 4096
_Entry = tuple[bytes, int, bytes]


def checkout(mirror: Path, commit: str, target: Path, limits: GitLimits) -> None:
    """Write the files of ``commit`` (40 hex digits, complete in ``mirror``) to the new directory ``target``.

    Does nothing when ``target`` is there. Raise UnknownCommit, or Refused with the entry's name in the sentence.
    Executable files stay so; nothing else of a mode is kept. See ``marks`` about power cuts.
    """
    if target.is_dir():
        if not marks.is_hollow(target):
            return
        remove(target)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=target.parent))
    try:
        with Packs(mirror / "objects") as packs:
            _Writer(packs, limits).write(bytes.fromhex(commit), new)
        new.chmod(0o755)
        marks.mark(target)
        try:
            new.rename(target)
        except OSError:
            # Another checkout of the same commit came first; it is as good.
            if not target.is_dir():
                raise
    except KeyError as error:
        raise UnknownCommit(f"commit {commit[:12]} is not complete on this drone") from error
    finally:
        delete_tree(new)


def size(mirror: Path, commit: str) -> int:
    """The bytes on disk that a checkout of ``commit`` takes, about; raise KeyError if it is not complete."""
    total = 0
    with Packs(mirror / "objects") as packs:
        waiting = [commit_tree(packs.read(bytes.fromhex(commit))[1])]
        while waiting:
            for _, mode, object_id in tree_entries(packs.read(waiting.pop())[1]):
                total += _BLOCK
                if mode == _DIRECTORY:
                    waiting.append(object_id)
                elif mode != _SUBMODULE:
                    found = packs.kind_and_size(object_id)
                    if found is None:
                        raise KeyError(object_id)
                    total += found[1]
    return total


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
    """Delete what a kill or a power cut left in ``directory``. Call it before the first checkout there."""
    if not directory.is_dir():
        return
    for path in list(directory.iterdir()):
        if path.name.startswith((_NEW, _GONE)):
            delete_tree(path)
        elif path.name.startswith(marks.PREFIX):
            target = path.with_name(path.name[len(marks.PREFIX) :])
            if not target.exists():
                path.unlink(missing_ok=True)
            elif marks.is_hollow(target):
                remove(target)


@define
class _Writer:
    """Counts what it writes against ``limits``; walks with a stack of its own, so depth is a limit, not a crash."""

    packs: Packs
    limits: GitLimits
    _files: int = field(init=False, default=0)
    _bytes: int = field(init=False, default=0)

    def write(self, commit: bytes, top: Path) -> None:
        if self.packs.kind(commit) != COMMIT:
            raise KeyError(commit)
        tree = commit_tree(self.packs.read(commit)[1])
        stack: list[tuple[int, bytes, Iterator[_Entry]]] = []
        try:
            stack.append((_open(top), b"", self._entries(tree)))
            while stack:
                directory, prefix, entries = stack[-1]
                entry = next(entries, None)
                if entry is None:
                    os.close(stack.pop()[0])
                    continue
                name, mode, object_id = entry
                path = prefix + name
                self._check(path, name, mode, len(stack))
                if mode == _DIRECTORY:
                    os.mkdir(name, 0o755, dir_fd=directory)
                    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                    stack.append((inner, path + b"/", self._entries(object_id)))
                else:
                    self._leaf(directory, path, name, mode, object_id, len(stack) - 1)
        finally:
            for directory, _, _ in stack:
                os.close(directory)

    def _entries(self, tree: bytes) -> Iterator[_Entry]:
        kind, content = self.packs.read(tree)
        if kind != TREE:
            raise KeyError(tree)
        return tree_entries(content)

    def _check(self, path: bytes, name: bytes, mode: int, depth: int) -> None:
        self._files += 1
        if self._files > self.limits.checkout_files:
            raise Refused(f"the commit has more than {self.limits.checkout_files} files and directories")
        if depth > self.limits.checkout_depth or len(path) > 3000:
            raise Refused(f"{_shown(path)} lies deeper than {self.limits.checkout_depth} directories")
        reason = unsafe(name)
        if reason:
            raise Refused(f"{_shown(path)} cannot be checked out: its name {reason}")
        if mode == _SUBMODULE:
            raise Refused(f"{_shown(path)} is a submodule, which deployd does not fetch; put its files into the app")
        if mode == _LINK and is_dot_gitmodules(name):
            raise Refused(f"{_shown(path)} cannot be checked out: it is a link")

    def _leaf(self, directory: int, path: bytes, name: bytes, mode: int, object_id: bytes, depth: int) -> None:
        found = self.packs.kind_and_size(object_id)
        if found is None or found[0] != BLOB:
            raise KeyError(object_id)
        self._bytes += found[1]
        if self._bytes > self.limits.checkout_bytes:
            raise Refused(f"the commit has more than {self.limits.checkout_bytes} bytes of files")
        content = self.packs.read(object_id)[1]
        if mode == _LINK:
            _check_link(path, content, depth)
            os.symlink(content, name, dir_fd=directory)
            return
        if content.startswith(_LFS) and len(content) < 1024:
            raise Refused(f"{_shown(path)} is a Git LFS pointer, and deployd does not fetch its file; commit the file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(name, flags, 0o755 if mode & 0o100 else 0o644, dir_fd=directory)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)


def _check_link(path: bytes, goal: bytes, depth: int) -> None:
    """Refuse a link that leads outside. ``depth`` directories lie between the link and the top of the checkout.

    ``..`` may only stand in front: after a name it would start from wherever that name, itself a link, leads.
    """
    parts = [part for part in goal.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    leads_out = goal.startswith(b"/") or ups > depth or b".." in parts[ups:]
    if not goal or leads_out or b"\0" in goal or len(goal) > _MAX_LINK:
        raise Refused(f"{_shown(path)} cannot be checked out: it is a link that leads outside, to {_shown(goal)}")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _shown(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 100 else text[:97] + "...")
