"""Reading a little of what a repository holds: from a tag to its commit, from a commit to one of its files."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define
from dulwich.objects import parse_tree

from deployd.git.kinds import COMMIT, TAG, TREE
from deployd.git.packs.store import Packs

_MAX_PEELS = 64


def tree_entries(content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """(name, mode, 20-byte id) of each entry of a tree."""
    for name, mode, object_id in parse_tree(content, 20):
        yield name, mode, bytes.fromhex(object_id.decode())


def commit_tree(content: bytes) -> bytes:
    """The 20-byte id of the tree of a commit's content."""
    return bytes.fromhex(content[5:45].decode())


def commit_parents(content: bytes) -> tuple[bytes, ...]:
    """The 20-byte ids of the parents of a commit's content."""
    header = content.split(b"\n\n", 1)[0].split(b"\n")
    return tuple(bytes.fromhex(line[7:47].decode()) for line in header if line.startswith(b"parent "))


@define
class History:
    """Walks the objects of ``packs``. Ids are 20 bytes."""

    packs: Packs

    def peel(self, object_id: bytes) -> tuple[int, bytes]:
        """(kind, id) of what ``object_id`` stands for once tags are followed. Raise KeyError when it is not here."""
        kind, content = self.packs.kind(object_id), b""
        for _ in range(_MAX_PEELS):
            if kind is None:
                raise KeyError(object_id)
            if kind != TAG:
                return kind, object_id
            _, content = self.packs.read(object_id)
            object_id = bytes.fromhex(content[7:47].decode())
            kind = self.packs.kind(object_id)
        raise KeyError(object_id)

    def commit_at(self, value: bytes) -> bytes | None:
        """The commit that a ref's value (40 hex digits) stands for; None when it stands for none."""
        try:
            kind, object_id = self.peel(bytes.fromhex(value.decode()))
        except KeyError:
            return None
        return object_id if kind == COMMIT else None

    def entry(self, commit: bytes, path: bytes) -> tuple[int, bytes] | None:
        """(mode, id) of ``path`` in ``commit``; None when there is none."""
        if self.packs.kind(commit) != COMMIT:
            return None
        object_id, mode = commit_tree(self.packs.read(commit)[1]), 0o40000
        for part in path.split(b"/"):
            if mode != 0o40000 or self.packs.kind(object_id) != TREE:
                return None
            entries = {name: (its, target) for name, its, target in tree_entries(self.packs.read(object_id)[1])}
            if part not in entries:
                return None
            mode, object_id = entries[part]
        return mode, object_id
