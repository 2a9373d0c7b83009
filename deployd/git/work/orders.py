"""What a worker is asked to do, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from deployd.git.work.messages import Document

QUICK, HEAVY, UPKEEP = "quick", "heavy", "upkeep"


@frozen(kw_only=True)
class Order:
    """``name`` is that of a job (deployd.git.work.jobs), ``arguments`` and ``body`` are what it gets.

    ``file``: an open descriptor that it gets too, which its giver keeps open until the answer. ``repository``: a
    worker that has worked on it before is preferred. ``kind``: no one kind may have all workers of a ``lane``.
    ``seconds``: how long it may take once it has begun. ``again``: it may be done twice, so it is given to another
    worker if the first one dies before it has said anything.
    """

    name: str
    arguments: Document = field(factory=dict)
    body: bytes = b""
    file: int | None = None
    repository: str = ""
    lane: str = QUICK
    kind: str = ""
    seconds: float = 60.0
    again: bool = False


@frozen
class Answer:
    """What came of an order: a document, and bytes that go along."""

    document: Document
    body: bytes = b""


class Unfinished(Exception):
    """A job did not come to its end, through no fault of who asked for it; the message is a sentence for that one."""


Note = Callable[[Document], Any]
"""Is told what a job has to say before it ends."""
