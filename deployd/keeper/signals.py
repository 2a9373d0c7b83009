"""Signals as events of the reactor, without Twisted's own reaping, which only knows what it has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class Signals:
    """Calls what ``heard`` has for a signal, soon after it; SIGINT and SIGHUP do nothing."""

    def __init__(self, reactor: Any, heard: Mapping[int, Callable[[], None]]) -> None:
        self._reactor = reactor
        self._heard = heard
        self._ours, self._kernels = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def begin(self) -> None:
        signal.set_wakeup_fd(self._kernels, warn_on_full_buffer=False)
        for number in self._heard:
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._reactor.addReader(self)

    def doRead(self) -> None:
        for number in set(os.read(self._ours, 4096)):
            if number in self._heard:
                self._heard[number]()

    def fileno(self) -> int:
        return self._ours

    def logPrefix(self) -> str:
        return "signals"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends."""
