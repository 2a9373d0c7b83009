"""Where blocking work goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool


class Threads:
    """Up to ``count`` threads, which do not keep a daemon from ending: a fetch may wait for minutes."""

    def __init__(self, reactor: Any, name: str, count: int) -> None:
        self._reactor = reactor
        self._pool = _EasyPool(0, count, name)

    def start(self) -> None:
        self._pool.start()

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Deferred[Any]:
        """What ``function`` returns or raises, from another thread; it is called in the order of the calls."""
        return deferToThreadPool(self._reactor, self._pool, function, *arguments, **options)


class _EasyPool(ThreadPool):
    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
