"""The second pass over a scanned pack: deltas become objects, with a bounded memory for their bases.

Bases are kept in a small cache; one that fell out is made again from its own base, so a hostile chain costs time, which
``inflated_bytes`` bounds, and not memory.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from attrs import Factory, define, field
from dulwich.errors import ApplyDeltaError
from dulwich.pack import apply_delta

from deployd.git.kinds import BLOB, DELTAS, NAMES
from deployd.git.limits import GitLimits
from deployd.git.packs.entries import Buffer, inflated
from deployd.git.packs.scanning import PackScan, Seen
from deployd.git.problems import BadPack

BASE_CACHE_BYTES = 32 << 20
Lookup = Callable[[bytes], tuple[int, bytes]]
"""Finds (kind, content) of an object outside the pack by its 20-byte id; raises KeyError."""


@define
class Resolver:
    """Gives every delta of ``found`` its id and kind. ``outside`` collects the bases that a thin pack left out."""

    buffer: Buffer
    found: PackScan
    limits: GitLimits
    seen: Seen
    lookup: Lookup
    outside: set[bytes] = Factory(set)
    _children: defaultdict[int, list[int]] = field(init=False, factory=lambda: defaultdict(list))
    _awaiting: defaultdict[bytes, list[int]] = field(init=False, factory=lambda: defaultdict(list))
    _base_of: dict[int, int | bytes] = field(init=False, factory=dict)
    _depths: dict[int, int] = field(init=False, factory=dict)
    _cache: OrderedDict[int, bytes] = field(init=False, factory=OrderedDict)
    _cached: int = field(init=False, default=0)

    def run(self) -> None:
        """Resolve everything, or raise BadPack."""
        for row, base in self.found.parents.items():
            self._children[base].append(row)
        for row, base_id in self.found.named.items():
            self._awaiting[base_id].append(row)
        roots = [row for row in self._children if self.found.kinds[row] not in DELTAS]
        roots += [self.found.rows[base_id] for base_id in self._awaiting if base_id in self.found.rows]
        self._descend(roots)
        for base_id in list(self._awaiting):
            rows = self._awaiting.pop(base_id, None)
            if rows:
                self._descend(self._from_outside(base_id, rows))
        if self._children or self._awaiting:
            raise BadPack("a delta of the pack has a base that is neither in it nor here")

    def _from_outside(self, base_id: bytes, rows: list[int]) -> list[int]:
        try:
            kind, base = self.lookup(base_id)
        except KeyError:
            # It may be a delta of this pack whose own base comes later in the round.
            self._awaiting[base_id] = rows
            return []
        self.outside.add(base_id)
        return [self._make(row, base_id, kind, base, 1) for row in rows]

    def _descend(self, stack: list[int]) -> None:
        while stack:
            base_row = stack.pop()
            rows = self._children.pop(base_row, []) + self._awaiting.pop(self.found.ids[base_row], [])
            if not rows:
                continue
            base = self._content(base_row)
            kind, depth = self.found.kinds[base_row], self._depths.get(base_row, 0) + 1
            for row in rows:
                stack.append(self._make(row, base_row, kind, base, depth))

    def _make(self, row: int, base_key: int | bytes, kind: int, base: bytes, depth: int) -> int:
        if depth > self.limits.delta_depth:
            raise BadPack(f"the pack has a chain of more than {self.limits.delta_depth} deltas")
        size, limit = self.found.sizes[row], self.limits.meta_bytes
        if kind != BLOB and size > limit:
            raise BadPack(f"an object of the pack has {size} bytes; the limit is {limit}")
        content = self._apply(base, row)
        object_id = hashlib.sha1(b"%s %d\0%b" % (NAMES[kind], len(content), content)).digest()
        self._base_of[row] = base_key
        self._depths[row] = depth
        self.found.identify(row, kind, object_id)
        if kind != BLOB:
            self.seen(kind, object_id, content)
        if row in self._children or object_id in self._awaiting:
            self._remember(row, content)
        return row

    def _apply(self, base: bytes, row: int) -> bytes:
        delta = inflated(self.buffer, self.found.data[row], self.found.end, self.found.stored[row])
        try:
            content = b"".join(apply_delta(base, delta))
        except (ApplyDeltaError, AssertionError, ValueError, IndexError) as error:
            raise BadPack("a delta of the pack does not fit its base") from error
        if len(content) != self.found.sizes[row]:
            raise BadPack("a delta of the pack does not make what it says")
        return content

    def _content(self, row: int) -> bytes:
        chain: list[int] = []
        key: int | bytes = row
        while isinstance(key, int) and key not in self._cache and key in self._base_of:
            chain.append(key)
            key = self._base_of[key]
        if isinstance(key, bytes):
            content = self.lookup(key)[1]
        elif key in self._cache:
            content = self._cache[key]
            self._cache.move_to_end(key)
        else:
            self.found.spend(self.found.stored[key], self.limits)
            content = inflated(self.buffer, self.found.data[key], self.found.end, self.found.stored[key])
        for step in reversed(chain):
            self.found.spend(self.found.sizes[step], self.limits)
            content = self._apply(content, step)
        self._remember(row, content)
        return content

    def _remember(self, row: int, content: bytes) -> None:
        if row in self._cache or len(content) > BASE_CACHE_BYTES:
            return
        self._cache[row] = content
        self._cached += len(content)
        while self._cached > BASE_CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped)
