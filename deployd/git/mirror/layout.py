"""What a checkout of a commit consists of: found and checked before the first file of it is written."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from deployd.errors import Refused
from deployd.git.entry_names import is_dot_gitmodules, unsafe
from deployd.git.kinds import BLOB, COMMIT, DIRECTORY, LINK, SUBMODULE, TREE
from deployd.git.limits import GitLimits
from deployd.git.mirror.reading import MirrorReader, Place, sound
from deployd.git.packs.links import commit_tree, tree_entries

_MAX_PATH = 3000
_BLOCK = 4096

Leaf = tuple[bytes, int, Place, int]
"""Name, mode, where its content is, and size of a file or link."""


@define
class Directory:
    """``path`` ends with ``/``, and is empty for the top; ``depth`` directories lie above. ``inner`` are by name."""

    path: bytes
    depth: int
    leaves: list[Leaf] = field(factory=list)
    inner: list[tuple[bytes, Directory]] = field(factory=list)


@define
class Layout:
    """Everything of ``commit`` (20 bytes) that ``reader`` has, and nothing of it if anything is missing or unsafe.

    Raise KeyError for an object that is not there, and Refused, with the entry's name, for what deployd does not check
    out. The files themselves are not read.
    """

    reader: MirrorReader
    limits: GitLimits
    entries: int = field(init=False, default=0)
    size: int = field(init=False, default=0)

    def read(self, commit: bytes) -> Directory:
        """The top directory; afterwards ``size`` is the number of bytes in all files."""
        top = Directory(b"", 0)
        waiting = [(top, commit_tree(self._content(commit, COMMIT)))]
        while waiting:
            directory, tree = waiting.pop()
            for name, mode, object_id in self._entries(tree):
                path = directory.path + name
                self._check(path, name, mode, directory.depth + 1)
                if mode == DIRECTORY:
                    inner = Directory(path + b"/", directory.depth + 1)
                    directory.inner.append((name, inner))
                    waiting.append((inner, object_id))
                else:
                    place = self.reader.place(object_id)
                    directory.leaves.append((name, mode, place, self._measured(object_id, place)))
        return top

    @property
    def room(self) -> int:
        """The bytes on disk that all of it takes, about."""
        return self.size + self.entries * _BLOCK

    def _entries(self, tree: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        content = self._content(tree, TREE)
        with sound():
            yield from tree_entries(content)

    def _content(self, object_id: bytes, kind: int) -> bytes:
        actual, content = self.reader.read(self.reader.place(object_id))
        if actual != kind:
            raise KeyError(object_id)
        return content

    def _measured(self, blob: bytes, place: Place) -> int:
        kind, size = self.reader.kind_and_size(place)
        if kind != BLOB:
            raise KeyError(blob)
        self.size += size
        if self.size > self.limits.checkout_bytes:
            raise Refused(f"the commit has more than {self.limits.checkout_bytes} bytes of files")
        return size

    def _check(self, path: bytes, name: bytes, mode: int, depth: int) -> None:
        self.entries += 1
        if self.entries > self.limits.checkout_files:
            raise Refused(f"the commit has more than {self.limits.checkout_files} files and directories")
        if depth > self.limits.checkout_depth or len(path) > _MAX_PATH:
            raise Refused(f"{shown(path)} lies deeper than {self.limits.checkout_depth} directories")
        reason = unsafe(name)
        if reason:
            raise Refused(f"{shown(path)} cannot be checked out: its name {reason}")
        if mode == SUBMODULE:
            raise Refused(f"{shown(path)} is a submodule, which deployd does not fetch; put its files into the app")
        if mode == LINK and is_dot_gitmodules(name):
            raise Refused(f"{shown(path)} cannot be checked out: it is a link")


def shown(path: bytes) -> str:
    """A path as a sentence may have it."""
    text = path.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 100 else text[:97] + "...")
