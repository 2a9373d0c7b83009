"""What the commits, trees and tags of one pack say: checked one by one, and what they need, gathered.

Everything that any of them refers to must be in the pack or already in the repository. A repository takes only what
passed this, and nothing is ever taken out object by object, so an object that is there is complete below too: that is
why no walk over the old history is needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from attrs import Factory, define
from dulwich.errors import ObjectFormatException
from dulwich.objects import Commit, Tag

from deployd.git.entry_names import unsafe
from deployd.git.kinds import BLOB, COMMIT, NUMBERS, TAG, TREE, kind_name
from deployd.git.problems import BadObject

_COMMIT = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author [^\n\0]*\ncommitter [^\n\0]*\n")
_TAG = re.compile(rb"object ([0-9a-f]{40})\ntype (commit|tree|blob|tag)\ntag [^\n\0]+\n")
_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0]*)\0(.{20})", re.DOTALL)
_KIND_OF_MODE = {
    b"100644": BLOB,
    b"100755": BLOB,
    b"100664": BLOB,
    b"120000": BLOB,
    b"40000": TREE,
    b"040000": TREE,
    b"160000": 0,
}


@define
class Census:
    """``wanted``: id -> kind of everything referred to; ``parents``: commit -> its parents. Ids have 20 bytes."""

    wanted: dict[bytes, int] = Factory(dict)
    parents: dict[bytes, tuple[bytes, ...]] = Factory(dict)
    tags: dict[bytes, bytes] = Factory(dict)

    def add(self, kind: int, object_id: bytes, content: bytes) -> None:
        """Check one object; raise BadObject when it is malformed or unsafe."""
        if kind == COMMIT:
            self._commit(object_id, content)
        elif kind == TREE:
            self._tree(object_id, content)
        elif kind == TAG:
            self._tag(object_id, content)

    def check(self, kinds: Mapping[bytes, int], kind_here: Callable[[bytes], int | None]) -> None:
        """Raise BadObject unless everything wanted exists and is what it should be.

        ``kinds`` are the pack's own objects; ``kind_here`` looks in the repository, None: not there.
        """
        for object_id, kind in self.wanted.items():
            actual = kinds.get(object_id) or kind_here(object_id)
            if actual is None:
                raise BadObject(f"{kind_name(kind)} {object_id.hex()} is missing")
            if actual != kind:
                raise BadObject(f"{object_id.hex()} is a {kind_name(actual)}, not a {kind_name(kind)}")

    def _want(self, object_id: bytes, kind: int) -> None:
        if self.wanted.setdefault(object_id, kind) != kind:
            raise BadObject(f"{object_id.hex()} is used as two kinds of object")

    def _commit(self, object_id: bytes, content: bytes) -> None:
        match = _COMMIT.match(content)
        try:
            # What dulwich could not read later must not come in: one such commit would end every fetch.
            readable = isinstance(Commit.from_string(content).commit_time, int)
        except (ObjectFormatException, ValueError, TypeError, IndexError, AssertionError):
            readable = False
        if not match or not readable:
            raise BadObject(f"commit {object_id.hex()} is malformed")
        parents = tuple(bytes.fromhex(line[7:47].decode()) for line in match[2].splitlines())
        self._want(bytes.fromhex(match[1].decode()), TREE)
        for parent in parents:
            self._want(parent, COMMIT)
        self.parents[object_id] = parents

    def _tag(self, object_id: bytes, content: bytes) -> None:
        match = _TAG.match(content)
        try:
            target = Tag.from_string(content).object if match else None
        except (ObjectFormatException, ValueError, TypeError, IndexError, AssertionError):
            target = None
        if not match or not target:
            raise BadObject(f"tag {object_id.hex()} is malformed")
        self.tags[object_id] = bytes.fromhex(match[1].decode())
        self._want(self.tags[object_id], NUMBERS[match[2]])

    def _tree(self, object_id: bytes, content: bytes) -> None:
        length, names = 0, []
        last = b""
        for mode, name, target in _ENTRY.findall(content):
            length += len(mode) + len(name) + 22
            kind = _KIND_OF_MODE.get(mode)
            if kind is None:
                raise BadObject(f"tree {object_id.hex()} has an entry of unknown mode {mode.decode()}")
            reason = unsafe(name)
            if reason:
                raise BadObject(f"tree {object_id.hex()} has an entry whose name {reason}: {_shown(name)}")
            key = name + b"/" if kind == TREE else name
            if key <= last:
                raise BadObject(f"tree {object_id.hex()} is not in order")
            last = key
            names.append(name)
            if kind:
                self._want(target, kind)
        if length != len(content):
            raise BadObject(f"tree {object_id.hex()} is malformed")
        if len(set(names)) != len(names):
            raise BadObject(f"tree {object_id.hex()} has the same name twice")


def _shown(name: bytes) -> str:
    return repr(name[:60].decode("utf-8", "backslashreplace"))
