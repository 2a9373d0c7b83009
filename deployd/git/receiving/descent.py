"""Whether a branch only moves forward, found without reading a commit."""

from __future__ import annotations

from collections.abc import Mapping

from deployd.git.packs.ancestry import between
from deployd.git.packs.graph import Graph


def descends(new: bytes, old: bytes, fresh: Mapping[bytes, tuple[bytes, ...]], graph: Graph) -> bool:
    """Whether commit ``old`` is ``new`` or before it.

    ``fresh`` are the parents of commits that are not in ``graph`` yet.
    """
    border, known, waiting = set[int](), {new}, [new]
    while waiting:
        commit = waiting.pop()
        if commit == old:
            return True
        number = graph.number(commit)
        if number is not None:
            border.add(number)
            continue
        for parent in fresh.get(commit, ()):
            if parent not in known:
                known.add(parent)
                waiting.append(parent)
    before = graph.number(old)
    return before is not None and not between(graph, border, (before,))
