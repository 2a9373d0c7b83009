"""The ends of this process's children, each heard of by a descriptor of its own.

Not by SIGCHLD: whoever runs a reactor of Twisted has that taken already, and waits for its own children only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer


class Children:
    """``expect`` is what a ``deployd.processes.spawning.Spawner`` asks for."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def expect(self, pid: int, ended: Callable[[int], None]) -> None:
        self._reactor.addReader(_Child(self._reactor, pid, ended))


@implementer(IReadDescriptor)
class _Child:
    """A pidfd, which can be read once its process has ended."""

    def __init__(self, reactor: Any, pid: int, ended: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._pid = pid
        self._ended = ended
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "child"

    def doRead(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._close()
            self._ended(status)

    def connectionLost(self, reason: Any) -> None:
        """The reactor ends."""
        self._close()

    def _close(self) -> None:
        self._reactor.removeReader(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
