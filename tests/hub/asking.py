"""How tests wait for an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def done(waiting: Deferred[Any], settle: Callable[[], None]) -> Any:
    """The result of ``waiting`` once everything has settled; raise its error."""
    results: list[Any] = []
    waiting.addBoth(results.append)
    settle()
    assert results, "there is no answer yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]
