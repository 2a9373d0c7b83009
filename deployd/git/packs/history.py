"""Reading a little of what a repository holds: from a tag to its commit, from a commit to one of its files."""

from __future__ import annotations

from attrs import define

from deployd.git.kinds import COMMIT, DIRECTORY, TAG, TREE
from deployd.git.packs.links import commit_tree, tag_target, tree_entries
from deployd.git.packs.store import Packs

_MAX_PEELS = 64


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
            object_id = tag_target(content)
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
        object_id, mode = commit_tree(self.packs.read(commit)[1]), DIRECTORY
        for part in path.split(b"/"):
            if mode != DIRECTORY or self.packs.kind(object_id) != TREE:
                return None
            entries = {name: (its, target) for name, its, target in tree_entries(self.packs.read(object_id)[1])}
            if part not in entries:
                return None
            mode, object_id = entries[part]
        return mode, object_id
