"""What the commits, trees and tags of one pack point at, gathered while they are read.

Objects get numbers in the order in which they are first named, whether they are in the pack or not, so that a tree is a
slice of int32s: millions of entries take four bytes each, and lie in an unnamed file once they are many.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from attrs import define, field

from deployd.git.kinds import COMMIT, TREE
from deployd.git.packs.links import commit_head, tag_target, tree_children
from deployd.git.packs.mapping import map_file

_IN_MEMORY = 1 << 22


class Numbers(dict[bytes, int]):
    """Gives each id that is asked for a number, 0 upwards; ``names`` are the ids by number."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[bytes] = []

    def __missing__(self, object_id: bytes) -> int:
        number = self[object_id] = len(self)
        self.names.append(object_id)
        return number


@define
class Survey:
    """Tell it of every commit, tree and tag of the pack, in any order; ``drawing`` makes a chart of it."""

    numbers: Numbers = field(init=False, factory=Numbers)
    _starts: array[int] = field(init=False, factory=lambda: array("q"))
    _ends: array[int] = field(init=False, factory=lambda: array("q"))
    _children: _Ints = field(init=False, factory=lambda: _Ints())
    _commits: list[int] = field(init=False, factory=list)
    _trees: list[int] = field(init=False, factory=list)
    _parents: list[tuple[int, ...]] = field(init=False, factory=list)
    _times: array[int] = field(init=False, factory=lambda: array("q"))
    _tags: dict[int, int] = field(init=False, factory=dict)

    def read(self, kind: int, object_id: bytes, content: bytes) -> bool:
        """Learn from the content of a commit, tree or tag; return whether it could be understood."""
        try:
            if kind == COMMIT:
                self.commit(object_id, *commit_head(content))
            elif kind == TREE:
                self.tree(object_id, tree_children(content))
            else:
                self.tag(object_id, tag_target(content))
        except ValueError:
            return False
        return True

    def commit(self, object_id: bytes, tree: bytes, parents: Iterable[bytes], time: int) -> None:
        """``time`` in seconds since 1970."""
        number = self.numbers.__getitem__
        self._commits.append(number(object_id))
        self._trees.append(number(tree))
        self._parents.append(tuple(map(number, parents)))
        self._times.append(time)

    def tree(self, object_id: bytes, children: Sequence[bytes]) -> None:
        """``children`` without submodules."""
        number = self.numbers[object_id]
        if number >= len(self._starts):
            more = bytes(8 * (number + 1024 - len(self._starts)))
            self._starts.frombytes(more)
            self._ends.frombytes(more)
        self._starts[number] = len(self._children)
        self._children.extend(map(self.numbers.__getitem__, children))
        self._ends[number] = len(self._children)

    def tag(self, object_id: bytes, target: bytes) -> None:
        """A tag object."""
        self._tags[self.numbers[object_id]] = self.numbers[target]

    def children(self, number: int) -> Sequence[int]:
        """The numbers of the entries of a tree that it was told of."""
        start, end = self._starts[number], self._ends[number]
        spilled = self._children.spilled
        return (
            self._children.tail[start - spilled : end - spilled]
            if start >= spilled
            else self._children.mapped[start:end]
        )

    def entries(self) -> int:
        """How many entries all the trees have together."""
        return len(self._children)

    def commits(self) -> Iterator[tuple[int, int, tuple[int, ...], int]]:
        """(number, tree, parents, time) of each commit, in the order in which they were told of."""
        return zip(self._commits, self._trees, self._parents, self._times, strict=True)

    def tags(self) -> list[tuple[int, int]]:
        """(number, target) of each tag."""
        return list(self._tags.items())


@define
class _Ints:
    """A growing sequence of int32s; the first ``spilled`` of them lie in an unnamed file, the rest in ``tail``."""

    tail: array[int] = field(init=False, factory=lambda: array("i"))
    mapped: memoryview = field(init=False, factory=lambda: memoryview(b"").cast("i"))
    spilled: int = field(init=False, default=0)
    _file: BinaryIO | None = field(init=False, default=None)

    def __len__(self) -> int:
        return self.spilled + len(self.tail)

    def extend(self, numbers: Iterable[int]) -> None:
        if len(self.tail) > _IN_MEMORY:
            self._spill()
        self.tail.extend(numbers)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this, and has no name
        self.tail.tofile(self._file)
        self._file.flush()
        self.mapped = memoryview(map_file(self._file)).cast("i")
        self.spilled += len(self.tail)
        self.tail = array("i")
