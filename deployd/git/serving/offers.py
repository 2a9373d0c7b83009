"""What a repository offers to those who read it: its refs, as one kind of reader may see them, at one moment.

A worker keeps ``Offers`` for each repository that it serves. As long as no ref moves, it answers from what it has
parsed, sorted and rendered before: with thousands of refs that is most of what a fetch would cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from attrs import define, field

from deployd.git.packs.objects import Objects
from deployd.git.packs.reach import Reach
from deployd.git.refs import TAGS, Refs, WatchedRefs

_ANSWERS = 16


@define(eq=False, slots=False)
class Offer:
    """``refs``: (name, value) in git's order, ids in 40 hex digits; ``peeled``: what a tag stands for in the end.

    What is derived from them is derived once, for everybody who reads until the next ref moves.
    """

    refs: Sequence[tuple[bytes, bytes]]
    peeled: Mapping[bytes, bytes]
    head: bytes
    _reach: tuple[int, Reach] | None = field(init=False, default=None)
    _answers: OrderedDict[Hashable, bytes] = field(init=False, factory=OrderedDict)

    @classmethod
    def of(cls, refs: Refs, deployed: bool) -> Offer:
        """What of ``refs`` a reader may see; a drone (``deployed``) also sees what was deployed."""
        return cls(sorted(refs.shown(deployed).items()), refs.peeled, refs.head)

    @cached_property
    def values(self) -> Mapping[bytes, bytes]:
        """Name to value, HEAD included when its branch is there."""
        values = dict(self.refs)
        return values | {b"HEAD": values[self.head]} if self.head in values else values

    @cached_property
    def tips(self) -> frozenset[bytes]:
        """The 20-byte ids of all values."""
        return frozenset(bytes.fromhex(value.decode()) for _, value in self.refs)

    @cached_property
    def annotated(self) -> Sequence[tuple[bytes, bytes]]:
        """(20-byte id of a tag object, that of what it points at in the end), of each tag that is an object."""
        pairs = ((value, self.peeled.get(name)) for name, value in self.refs if name.startswith(TAGS))
        return [(bytes.fromhex(value.decode()), bytes.fromhex(end.decode())) for value, end in pairs if end]

    def reach(self, objects: Objects) -> Reach:
        """What the refs lead to."""
        if self._reach is None or self._reach[0] != objects.version:
            self._reach = objects.version, Reach(objects, self.tips)
        return self._reach[1]

    def answer(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """What ``make`` makes of this offer, which is kept under ``key`` for the next who asks."""
        found = self._answers.pop(key, None)
        self._answers[key] = found = make() if found is None else found
        if len(self._answers) > _ANSWERS:
            self._answers.popitem(last=False)
        return found


@define(eq=False)
class Offers:
    """What ``repository`` offers to each kind of reader, now."""

    repository: Path
    _watched: WatchedRefs = field(init=False)
    _of: Refs | None = field(init=False, default=None)
    _known: dict[bool, Offer] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._watched = WatchedRefs(self.repository)

    def now(self, deployed: bool) -> Offer:
        """The same object for as long as no ref moves; it is nobody's to change."""
        refs = self._watched.read()
        if refs is not self._of:
            self._of, self._known = refs, {}
        if deployed not in self._known:
            self._known[deployed] = Offer.of(refs, deployed)
        return self._known[deployed]
