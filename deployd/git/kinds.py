"""Git's numbers for kinds of objects and of tree entries, and the names of the former."""

from __future__ import annotations

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
DELTAS = frozenset({OFS_DELTA, REF_DELTA})
DIRECTORY, LINK, SUBMODULE = 0o040000, 0o120000, 0o160000
"""Modes of tree entries; all others are files."""
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
NUMBERS = {name: number for number, name in NAMES.items()}


def kind_name(kind: int) -> str:
    """``commit`` and so on, for a message."""
    return NAMES[kind].decode()
