"""Where blocking work goes.

Note [Threads give way soon]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The reactor's thread gives up the interpreter at each system call, and asks for it back right after. A thread that
computes would keep it for 5 ms each time, as Python has it by default: ten system calls later a reactor that has
nothing to do but tell of an exit is 50 ms late.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

KEPT = 0.0005
"""Seconds for which a thread may compute while another one waits."""


class Threads:
    """Up to ``count`` threads, which do not keep a daemon from ending: a fetch may wait for minutes."""

    def __init__(self, reactor: Any, name: str, count: int) -> None:
        self._reactor = reactor
        self._pool = _EasyPool(0, count, name)

    def start(self) -> None:
        sys.setswitchinterval(KEPT)
        self._pool.start()

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Deferred[Any]:
        """What ``function`` returns or raises, from another thread; it is called in the order of the calls."""
        return deferToThreadPool(self._reactor, self._pool, function, *arguments, **options)


class _EasyPool(ThreadPool):
    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
