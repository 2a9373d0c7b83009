"""One thread that writes."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

IDLE = 0.02
"""Seconds without a call after which the writer begins to tidy up."""


@define(eq=False)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    done: Deferred[Any] = field(factory=Deferred)


class Writer:
    """Runs blocking calls in a thread of its own, in their order, and tidies up between them.

    A pool of Twisted's knows no pauses: ``tidy`` is told whether there is one, does a little work, and returns whether
    it wants to be called in a pause again. The thread begins with the first call, ends with ``close``, and keeps no
    process alive.
    """

    _log = Logger()

    def __init__(self, reactor: Any, name: str, tidy: Callable[[bool], bool] = lambda idle: False) -> None:
        self._reactor = reactor
        self._name = name
        self._tidy = tidy
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """What ``function`` returns or raises."""
        if self._closed:
            return fail(RuntimeError(f"{self._name} is closed"))
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        call = _Call(function, arguments)
        self._calls.put(call)
        return call.done

    def close(self) -> None:
        """The last call was made; the thread ends after it."""
        self._closed = True
        self._calls.put(None)

    def _work(self) -> None:
        wait: float | None = None
        while True:
            try:
                call = self._calls.get(timeout=wait)
            except Empty:
                wait = 0.0 if self._tidied(True) else None
                continue
            if call is None:
                return
            try:
                result = call.function(*call.arguments)
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(call.done.callback, result)
            wait = IDLE if self._tidied(False) else None

    def _tidied(self, idle: bool) -> bool:
        try:
            return self._tidy(idle)
        except Exception:
            self._reactor.callFromThread(self._log.failure, "{name} is not tidied up", Failure(), name=self._name)
            return False
