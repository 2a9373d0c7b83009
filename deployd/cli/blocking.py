"""Work that blocks, in a thread that does not keep deployctl from ending: the terminal may be stopped."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Blocking:
    """One thing after the other."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._work: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """What ``function`` returns or raises."""
        done: Deferred[Any] = Deferred()
        self._work.put((function, arguments, done))
        return done

    def _run(self) -> None:
        while True:
            function, arguments, done = self._work.get()
            try:
                result = function(*arguments)
            except Exception:  # whoever asked meets it
                result = Failure()
            self._reactor.callFromThread(done.callback, result)
