"""Trees, checked once for each form: modes, names and order.

Neighbouring commits' trees differ in ids and hardly ever in names, so of a hundred trees one is looked at name by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import compress

from attrs import define, field, frozen

from deployd.git.entry_names import is_dot_gitmodules, unsafe
from deployd.git.kinds import BLOB, TREE
from deployd.git.problems import BadObject

_ID = re.compile(rb"\0(.{20})", re.DOTALL)
_LINK, _SUBMODULE = b"120000", b"160000"
_KIND_OF_MODE = {
    b"100644": BLOB,
    b"100755": BLOB,
    b"100664": BLOB,
    _LINK: BLOB,
    b"40000": TREE,
    b"040000": TREE,
    _SUBMODULE: 0,
}
_REMEMBERED_BYTES = 32 << 20


@frozen
class _Form:
    """Which entries are trees, and which blobs: a byte for each, 0 or 1; None: none, or all."""

    trees: bytes
    blobs: bytes
    only_blobs: bool


_EMPTY = _Form(b"", b"", only_blobs=True)


@define
class TreeForms:
    """The forms that were found right; some are forgotten when they are too many."""

    _known: dict[bytes, _Form] = field(init=False, factory=dict)
    _room: int = field(init=False, default=_REMEMBERED_BYTES)

    def parts(self, object_id: bytes, content: bytes) -> tuple[Iterable[bytes], Iterable[bytes]]:
        """(ids of trees, ids of blobs) in the tree ``object_id``. Raise BadObject when it is malformed or unsafe."""
        pieces = _ID.split(content)
        if pieces.pop():
            raise BadObject(f"tree {object_id.hex()} is malformed")
        # No head has a NUL, so this is what every tree of the same form has, and no other.
        heads, ids = pieces[::2], pieces[1::2]
        key = b"\0".join(heads)
        form = self._known.get(key) if ids else _EMPTY
        if form is None:
            form = self._remembered(key, _examined(object_id, heads))
        if form.only_blobs:
            return (), ids
        return list(compress(ids, form.trees)), list(compress(ids, form.blobs))

    def _remembered(self, key: bytes, form: _Form) -> _Form:
        self._room -= len(key) + 300
        if self._room < 0:
            self._known.clear()
            self._room = _REMEMBERED_BYTES
        self._known[key] = form
        return form


def _examined(object_id: bytes, heads: list[bytes]) -> _Form:
    """The form of a tree whose entries begin with ``heads``: a mode, a space, and a name."""
    last, kinds, names = b"", [], set()
    for head in heads:
        mode, _, name = head.partition(b" ")
        kind = _KIND_OF_MODE.get(mode)
        if kind is None:
            raise BadObject(f"tree {object_id.hex()} has an entry of unknown mode {_shown(mode)}")
        reason = unsafe(name)
        if not reason and mode == _LINK and is_dot_gitmodules(name):
            reason = "may not be that of a link"
        if reason:
            raise BadObject(f"tree {object_id.hex()} has an entry whose name {reason}: {_shown(name)}")
        key = name + b"/" if kind == TREE else name
        if key <= last:
            raise BadObject(f"tree {object_id.hex()} is not in order")
        last = key
        kinds.append(kind)
        names.add(name)
    if len(names) != len(heads):
        raise BadObject(f"tree {object_id.hex()} has the same name twice")
    trees, blobs = bytes(kind == TREE for kind in kinds), bytes(kind == BLOB for kind in kinds)
    return _Form(trees, blobs, all(blobs))


def _shown(name: bytes) -> str:
    return repr(name[:60].decode("utf-8", "backslashreplace"))
