"""The stdin, stdout and stderr of one process, as pipes in the reactor: bounded, and as slow as whoever is slower."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import setNonBlocking, writeToFD
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

HIGH = 128 * 1024
"""Bytes of one stream that may wait for somebody to take them."""
READ = 64 * 1024


class Streams:
    """``theirs`` are the process's ends, to be closed here once it has them. ``changed`` is called when there is more
    to take, or room for more."""

    def __init__(self, reactor: Any, changed: Callable[[], None]) -> None:
        (child_in, stdin), (stdout, child_out), (stderr, child_err) = os.pipe(), os.pipe(), os.pipe()
        self.theirs = (child_in, child_out, child_err)
        self._outputs = [Output(reactor, fd, changed) for fd in (stdout, stderr)]
        self._input = Input(reactor, stdin, changed)

    def close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def take(self, most: int) -> tuple[bytes, bytes]:
        """What was printed to stdout and stderr, at most so many bytes of each."""
        stdout, stderr = (output.take(most) for output in self._outputs)
        return stdout, stderr

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take now."""
        return not any(output.held for output in self._outputs)

    @property
    def over(self) -> bool:
        """Whether there will never be anything to take again."""
        return self.empty and all(output.ended for output in self._outputs)

    @property
    def room(self) -> bool:
        return not self._input.full

    def write(self, data: bytes) -> None:
        """To stdin; what nobody reads any more is dropped."""
        self._input.write(data)

    def end_input(self) -> None:
        """Close stdin once all is written."""
        self._input.end()

    def close(self) -> None:
        """Nothing is read or written any more; what was read can be taken."""
        self._input.stop()
        for output in self._outputs:
            output.stop()


class Output(FileDescriptor):
    """What comes out of one pipe."""

    def __init__(self, reactor: Any, fd: int, changed: Callable[[], None]) -> None:
        super().__init__(reactor)
        setNonBlocking(fd)
        self._fd = fd
        self._changed = changed
        self._buffer = bytearray()
        self.connected = 1
        self.startReading()

    @property
    def held(self) -> int:
        return len(self._buffer)

    @property
    def ended(self) -> bool:
        return not self.connected

    def take(self, most: int) -> bytes:
        taken = bytes(self._buffer[:most])
        del self._buffer[:most]
        if len(self._buffer) < HIGH:
            self.resumeProducing()
        return taken

    def stop(self) -> None:
        if self.connected:
            self.connectionLost(Failure(CONNECTION_DONE))

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> Exception | None:
        try:
            data = os.read(self._fd, READ)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self._buffer += data
        if len(self._buffer) >= HIGH:
            self.pauseProducing()
        self._changed()
        return None

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        os.close(self._fd)
        self._changed()


@implementer(IPushProducer)
class Input(FileDescriptor):
    """What goes into one pipe. It is its own producer: told when it is full, and when it is empty again."""

    def __init__(self, reactor: Any, fd: int, changed: Callable[[], None]) -> None:
        super().__init__(reactor)
        setNonBlocking(fd)
        self._fd = fd
        self._changed = changed
        self.full = False
        self.connected = 1
        self.registerProducer(self, True)

    def end(self) -> None:
        if self.connected:
            self.unregisterProducer()
            self.loseConnection()

    def stop(self) -> None:
        if self.connected:
            self.connectionLost(Failure(CONNECTION_DONE))

    def fileno(self) -> int:
        return self._fd

    def writeSomeData(self, data: bytes) -> int | Exception:
        written: int | Exception = writeToFD(self._fd, data)
        return written

    def pauseProducing(self) -> None:
        self.full = True

    def resumeProducing(self) -> None:
        self.full = False
        self._changed()

    def stopProducing(self) -> None:
        """The pipe is gone."""

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        os.close(self._fd)
        self.full = False
        self._changed()
