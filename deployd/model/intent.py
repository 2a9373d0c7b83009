"""A deploy that a push asks for, from before its refs move until it is saved."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen


def _words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(words)


@frozen
class Intent:
    """``ref`` is to move from ``old`` (None: not there) to ``new``, and what comes so is to be deployed.

    ``options`` are the push's, as its pusher wrote them.
    """

    id: str
    ref: str
    old: str | None
    new: str
    options: tuple[str, ...] = field(default=(), converter=_words)
