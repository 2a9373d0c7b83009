"""Git's numbers for kinds of objects, and their names in object headers."""

from __future__ import annotations

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
DELTAS = frozenset({OFS_DELTA, REF_DELTA})
NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
NUMBERS = {name: number for number, name in NAMES.items()}


def kind_name(kind: int) -> str:
    """``commit`` and so on, for a message."""
    return NAMES[kind].decode()
