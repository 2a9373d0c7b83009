"""Waiting for a thing, with a deadline."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 30.0
PAUSE = 0.02


def stays(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Fail with ``what`` if ``condition`` is not true all the time, as often as it is looked at."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), what
        select.select([], [], [], PAUSE)


def until(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """The first true result of ``condition``; fail with ``what`` and the last result after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    result = condition()
    while not result:
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:.0f} s: {what} (last: {result!r})")
        select.select([], [], [], PAUSE)
        result = condition()
    return result
