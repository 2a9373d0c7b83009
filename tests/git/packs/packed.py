"""A reader of packs that takes nothing on trust."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from dulwich.pack import apply_delta

from deployd.git.kinds import DELTAS, OFS_DELTA
from deployd.git.packs.entries import header_at, inflate_into, inflated
from tests.git.forge import object_id

Stored = dict[str, tuple[int, bytes]]
"""(kind, content) by hex id."""


def read_pack(pack: bytes, had: Mapping[str, tuple[int, bytes]] = MappingProxyType({})) -> Stored:
    """The objects of a pack by hex id, ``had`` being others that its reader has.

    Fails unless it is whole, has nothing twice, and no delta that stands on itself or on nothing.
    """
    end = len(pack) - 20
    assert pack[:8] == b"PACK\0\0\0\2"
    assert hashlib.sha1(pack[:end]).digest() == pack[end:]
    at, found, offsets = 12, Stored(), dict[int, tuple[int, bytes]]()
    waiting = []
    while at < end:
        header = header_at(pack, at, end)
        waiting.append((at, header, inflated(pack, header.data, end, header.size)))
        at = inflate_into(pack, header.data, end, header.size, lambda _: None)
    assert int.from_bytes(pack[8:12], "big") == len(waiting)
    while waiting:
        left = []
        for at, header, content in waiting:
            kind = header.kind
            if kind in DELTAS:
                name = header.base_id.hex()
                base = offsets.get(header.base_offset) if kind == OFS_DELTA else found.get(name, had.get(name))
                if base is None:
                    left.append((at, header, content))
                    continue
                kind, content = base[0], b"".join(apply_delta(base[1], content))
            name = object_id(kind, content)
            assert name not in found
            offsets[at] = found[name] = kind, content
        assert len(left) < len(waiting), "deltas without a base"
        waiting = left
    return found
