"""Everything that commits need, without their history: what is kept for them, and what must have come with them."""

from __future__ import annotations

from collections.abc import Iterable

from deployd.git.kinds import BLOB, COMMIT, DIRECTORY, SUBMODULE, TREE
from deployd.git.mirror.reading import MirrorReader, Place, sound
from deployd.git.packs.links import commit_tree, tree_entries


def closure(reader: MirrorReader, commits: Iterable[str]) -> dict[bytes, Place]:
    """The objects of ``commits`` (40 hex digits each), by id: they themselves, and what their trees have.

    A submodule's commit is not among them. Raise KeyError for the first object that is not there or is of another kind
    than what points at it says, and Damaged.
    """
    found: dict[bytes, Place] = {}
    waiting = []
    for commit in commits:
        _add(reader, bytes.fromhex(commit), COMMIT, found)
        waiting.append(commit_tree(reader.read(found[bytes.fromhex(commit)])[1]))
    while waiting:
        tree = waiting.pop()
        if tree in found:
            continue
        _add(reader, tree, TREE, found)
        content = reader.read(found[tree])[1]
        with sound():
            entries = list(tree_entries(content))
        for _, mode, object_id in entries:
            if mode == DIRECTORY:
                waiting.append(object_id)
            elif mode != SUBMODULE and object_id not in found:
                _add(reader, object_id, BLOB, found)
    return found


def _add(reader: MirrorReader, object_id: bytes, kind: int, found: dict[bytes, Place]) -> None:
    place = reader.place(object_id)
    if reader.kind(place) != kind:
        raise KeyError(object_id)
    found[object_id] = place
