"""Noticing that nobody reads a stream's output any more before there is anything to print."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer


@implementer(IReadDescriptor)
class _Pipe:
    """The writing end of a pipe, which has an event when the reading one is closed, and no other."""

    def __init__(self, fd: int, closed: Callable[[], None]) -> None:
        self._fd = fd
        self._closed = closed

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "output"

    def doRead(self) -> None:
        """There is nothing to read in it."""

    def connectionLost(self, reason: Any) -> None:
        self._closed()


async def while_read(reactor: Any, fd: int, work: Deferred[None]) -> None:
    """``work``, given up for a BrokenPipeError once ``fd`` is a pipe that nobody reads."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        await work
        return
    closed: list[bool] = []

    def give_up() -> None:
        if not work.called:
            closed.append(True)
            work.cancel()

    pipe = _Pipe(fd, give_up)
    reactor.addReader(pipe)
    try:
        await work
    except CancelledError:
        if closed:
            raise BrokenPipeError from None
        raise
    finally:
        reactor.removeReader(pipe)
