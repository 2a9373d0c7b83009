"""The second pass over a scanned pack: deltas become objects, with a bounded memory for their bases.

Each object is made once, together with all others on the same base, and forgotten when all on it are made. Of those
that wait for that, the ones whose turn is last are dropped when they are too many, and made again from their own base:
so a hostile chain costs time, which ``inflated_bytes`` bounds, and not memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from attrs import Factory, define, field
from dulwich.errors import ApplyDeltaError
from dulwich.pack import apply_delta

from deployd.git.kinds import BLOB, DELTAS
from deployd.git.limits import GitLimits
from deployd.git.packs.deltas import delta_pieces
from deployd.git.packs.entries import Buffer, inflated
from deployd.git.packs.mapping import LARGE, content_of, in_file
from deployd.git.packs.scanning import STEP, PackScan, Seen, Step, object_id
from deployd.git.problems import BadPack

BASE_CACHE_BYTES = 32 << 20
# What one instruction of a delta on a large blob counts for, beside the bytes that it makes.
_INSTRUCTION = 256
Lookup = Callable[[bytes], tuple[int, bytes]]
"""Finds (kind, content) of an object outside the pack by its 20-byte id; raises KeyError."""


@define
class Resolver:
    """Gives every delta of ``found`` its id and kind. ``outside`` collects the bases that a thin pack left out, each
    with the rows of the deltas on it."""

    buffer: Buffer
    found: PackScan
    limits: GitLimits
    seen: Seen
    lookup: Lookup
    step: Step = lambda done: None
    outside: dict[bytes, list[int]] = Factory(dict)
    _deltas: array[int] = field(init=False)
    _others: array[int] = field(init=False)
    _depths: array[int] = field(init=False)
    _total: int = field(init=False)
    _left: int = field(init=False)
    _awaiting: defaultdict[bytes, list[int]] = field(init=False, factory=lambda: defaultdict(list))
    _cache: OrderedDict[int, Buffer] = field(init=False, factory=OrderedDict)
    _cached: int = field(init=False, default=0)

    def run(self) -> None:
        """Resolve everything, or raise BadPack."""
        found = self.found
        whole = [row for row, kind in enumerate(found.kinds) if kind not in DELTAS]
        self._total = self._left = len(found) - len(whole)
        self._link()
        for root in whole:
            if self._deltas[root] >= 0 or (self._awaiting and found.ids[root] in self._awaiting):
                self._descend([root])
        for base_id in list(self._awaiting):
            rows = self._awaiting.pop(base_id, None)
            if rows:
                self._descend(self._from_outside(base_id, rows))
        if self._left:
            raise BadPack("a delta of the pack has a base that is neither in it nor here")

    def _link(self) -> None:
        """``_deltas``: the first delta on each row, or -1; ``_others``: the next one on the same base."""
        bases = self.found.bases
        self._deltas, self._others = array("i", [-1]) * len(bases), array("i", [-1]) * len(bases)
        self._depths = array("I", bytes(4 * len(bases)))
        for row in range(len(bases) - 1, -1, -1):
            base = bases[row]
            if base >= 0:
                self._others[row], self._deltas[base] = self._deltas[base], row
        for row, base_id in self.found.named.items():
            self._awaiting[base_id].append(row)

    def _from_outside(self, base_id: bytes, rows: list[int]) -> list[int]:
        try:
            kind, base = self.lookup(base_id)
        except KeyError:
            # It may be a delta of this pack whose own base comes later in the round.
            self._awaiting[base_id] = rows
            return []
        self.outside[base_id] = rows
        return self._make_all(rows, kind, base, 1)

    def _descend(self, stack: list[int]) -> None:
        while stack:
            base_row = stack.pop()
            kind, depth = self.found.kinds[base_row], self._depths[base_row] + 1
            stack += self._make_all(self._on(base_row), kind, self._content(base_row), depth)

    def _make_all(self, rows: Iterable[int], kind: int, base: Buffer, depth: int) -> list[int]:
        """Make what is on ``base``; return those of it that other deltas are on."""
        return [row for row in rows if self._make(row, kind, base, depth)]

    def _on(self, base_row: int) -> Iterable[int]:
        rows = []
        row = self._deltas[base_row]
        while row >= 0:
            rows.append(row)
            row = self._others[row]
        if self._awaiting:
            for row in self._awaiting.pop(self.found.ids[base_row], ()):
                self.found.bases[row] = base_row
                rows.append(row)
        return rows

    def _make(self, row: int, kind: int, base: Buffer, depth: int) -> bool:
        """Make the object of a delta; return whether other deltas are on it."""
        found, limits = self.found, self.limits
        if depth > limits.delta_depth:
            raise BadPack(f"the pack has a chain of more than {limits.delta_depth} deltas")
        size = max(found.sizes[row], found.stored[row])
        if kind != BLOB and size > limits.meta_bytes:
            raise BadPack(f"an object of the pack has {size} bytes; the limit is {limits.meta_bytes}")
        content = None
        if max(size, len(base)) > LARGE:
            name = self._name_large(base, row)
        else:
            content = self._apply(base, row)
            name = object_id(kind, content)
        found.kinds[row], found.ids[row] = kind, name
        self._left -= 1
        if not self._left % STEP:
            self.step(self._total - self._left)
        if kind != BLOB and content is not None:
            self.seen(kind, name, content)
        if self._deltas[row] < 0 and (not self._awaiting or name not in self._awaiting):
            return False
        self._depths[row] = depth
        self._remember(row, self._applied(base, row) if content is None else content)
        return True

    def _applied(self, base: Buffer, row: int) -> Buffer:
        size = self.found.sizes[row]
        if max(size, self.found.stored[row], len(base)) <= LARGE:
            return self._apply(base, row)
        if size <= LARGE:
            made = bytearray()
            for piece in self._pieces(base, row):
                made += piece
            return bytes(made)
        return in_file(lambda file: file.writelines(self._pieces(base, row)))

    def _name_large(self, base: Buffer, row: int) -> bytes:
        hasher = hashlib.sha1(b"blob %d\0" % self.found.sizes[row])
        for piece in self._pieces(base, row):
            hasher.update(piece)
        return hasher.digest()

    def _pieces(self, base: Buffer, row: int) -> Iterator[bytes | memoryview]:
        found = self.found
        delta = content_of(self.buffer, found.data[row], found.end, found.stored[row])
        return delta_pieces(base, delta, lambda: found.spend(_INSTRUCTION))

    def _apply(self, base: Buffer, row: int) -> bytes:
        found = self.found
        delta = found.kept.get(row)
        if delta is None:
            delta = inflated(self.buffer, found.data[row], found.end, found.stored[row])
        try:
            content = b"".join(apply_delta(cast(bytes, base), delta))
        except (ApplyDeltaError, AssertionError, ValueError, IndexError) as error:
            raise BadPack("a delta of the pack does not fit its base") from error
        if len(content) != found.sizes[row]:
            raise BadPack("a delta of the pack does not make what it says")
        return content

    def _content(self, row: int) -> Buffer:
        """The object of a row whose deltas are about to be made."""
        found, content = self.found, self._cache.pop(row, None)
        if content is not None:
            self._cached -= len(content)
            return content
        chain: list[int] = []
        while content is None and found.bases[row] >= 0:
            chain.append(row)
            row = found.bases[row]
            content = self._cache.get(row)
        if content is None and row in found.named:
            chain.append(row)
            content = self.lookup(found.named[row])[1]
        elif content is None:
            found.spend(found.stored[row])
            content = content_of(self.buffer, found.data[row], found.end, found.stored[row])
        for step in reversed(chain):
            found.spend(found.sizes[step])
            content = self._applied(content, step)
        return content

    def _remember(self, row: int, content: Buffer) -> None:
        self._cache[row] = content
        self._cached += len(content)
        # The one that came last is needed next, however large it is.
        while self._cached > BASE_CACHE_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped)
