"""What commits, trees and tags point at, read from their contents, which were checked when they came in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dulwich.objects import parse_tree

_ENTRY = re.compile(rb"[^\0]*\0(.{20})", re.DOTALL)
_ENTRY_OR_SUBMODULE = re.compile(rb"160000 [^\0]*\0.{20}|[^\0]*\0(.{20})", re.DOTALL)
_HEAD = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)")
_COMMITTER = re.compile(rb"\ncommitter [^\n]*> (-?[0-9]{1,18})(?: |\n)")


def tree_entries(content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """(name, mode, 20-byte id) of each entry of a tree."""
    for name, mode, object_id in parse_tree(content, 20):
        yield name, mode, bytes.fromhex(object_id.decode())


def tree_children(content: bytes) -> list[bytes]:
    """The 20-byte ids in a tree, submodules left out."""
    if b"160000 " in content:
        return [object_id for object_id in _ENTRY_OR_SUBMODULE.findall(content) if object_id]
    return _ENTRY.findall(content)


def commit_head(content: bytes) -> tuple[bytes, tuple[bytes, ...], int]:
    """(tree, parents, time of the committer) of a commit's content. Raise ValueError when it is none."""
    head = _HEAD.match(content)
    if not head:
        raise ValueError("this is not a commit")
    time = _COMMITTER.search(content, head.end() - 1)
    parents = tuple(bytes.fromhex(line[7:].decode()) for line in head[2].splitlines())
    return bytes.fromhex(head[1].decode()), parents, int(time[1]) if time else 0


def tag_target(content: bytes) -> bytes:
    """The id that a tag's content points at. Raise ValueError when it is no tag."""
    return bytes.fromhex(content[7:47].decode("ascii"))


def commit_tree(content: bytes) -> bytes:
    """The 20-byte id of the tree of a commit's content."""
    return commit_head(content)[0]
