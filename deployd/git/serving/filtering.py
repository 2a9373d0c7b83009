"""Partial clones: which files, or trees, a reader leaves out and asks for by id when it needs one.

As a git server may, this one takes only filters that cost it no walk: by kind and by size, not by depth or path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import frozen

from deployd.git.kinds import BLOB, TREE
from deployd.git.packs.objects import Objects
from deployd.git.problems import NotOurs

_LIMIT = re.compile(r"blob:limit=([0-9]{1,18})([kmg]?)")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@frozen
class Filter:
    """``limit``: files of so many bytes and more are left out; None: none are. ``trees``: whether trees are, and files
    with them."""

    limit: int | None = None
    trees: bool = False

    @classmethod
    def parse(cls, text: str) -> Filter:
        """From git's words for it; "" leaves nothing out. Raise NotOurs for one that is not to be had."""
        match = _LIMIT.fullmatch(text)
        if match:
            return cls(int(match[1]) * _UNITS[match[2]])
        if text not in ("", "blob:none", "tree:0"):
            raise NotOurs(f"filter '{text}' not supported")
        return cls(0 if text else None, text == "tree:0")

    def __str__(self) -> str:
        if self.trees:
            return "tree:0"
        return "" if self.limit is None else f"blob:limit={self.limit}"

    def kept(self, objects: Objects, places: Iterable[int]) -> Iterator[int]:
        """Those of ``places`` that are not left out."""
        for place in places:
            kind = objects.kind(place)
            if kind == BLOB:
                if self.limit is None or (self.limit and objects.size(place) < self.limit):
                    yield place
            elif kind != TREE or not self.trees:
                yield place
