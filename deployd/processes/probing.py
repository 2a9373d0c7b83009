"""Asks many apps at once whether they answer: one connection each, and at most one line read.

Note [Asking cheaply]
~~~~~~~~~~~~~~~~~~~~~
A drone may ask hundreds of apps every few seconds, for ever. Twisted's client endpoints take some 300 microseconds for
a connection that says nothing; here a connect to this very machine is decided by two system calls, without a timer, a
transport, or a turn of the reactor. Only who does not answer at once is waited for.

A connection ends with a FIN, never with a reset, and an answer is read for a while beyond its first line: many servers
print a traceback when the other side is gone while they write.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

AT_ONCE = 200
LONGEST_LINE = 1024
READ_ON = 64 * 1024
REFUSED = "connection refused"
NOT_HTTP = "not HTTP"

_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_HTTP = b"HTTP/"
_STATUS = re.compile(rb"HTTP/\d\.\d (\d\d\d)(?: [^\r\n]*)?\r?\n")


def probe_host(host: str) -> str:
    """Where to knock at an app that was told to bind ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def silent(timeout: float) -> str:
    return f"no answer within {timeout:g} s"


class Prober:
    """Each method fires with why the app is not well, "" if it is. ``host`` is the HOST it was told to bind.

    No more than ``at_once`` sockets are open, ``free`` more may be; who waits for one has its whole ``timeout`` left.
    """

    def __init__(self, reactor: Any, at_once: int = AT_ONCE, kind: type[socket.socket] = socket.socket) -> None:
        self.free = at_once
        self._reactor = reactor
        self._kind = kind
        self._waiting: deque[_Probe] = deque()

    def tcp(self, host: str, port: int, timeout: float) -> Deferred[str]:
        """Whether it accepts a connection."""
        return self._begin(_Probe(self._reactor, probe_host(host), port, timeout, self._closed))

    def http(self, host: str, port: int, timeout: float, path: str, lowest: int, highest: int) -> Deferred[str]:
        """Whether it answers GET ``path`` with a status within ``lowest``..``highest``."""
        probe = _HTTPProbe(self._reactor, probe_host(host), port, timeout, self._closed)
        probe.path, probe.wanted = path, range(lowest, highest + 1)
        return self._begin(probe)

    def _begin(self, probe: _Probe) -> Deferred[str]:
        if self.free:
            self.free -= 1
            probe.begin(self._kind)
        else:
            self._waiting.append(probe)
        return probe.answer

    def _closed(self) -> None:
        self.free += 1
        while self._waiting and self.free:
            probe = self._waiting.popleft()
            if not probe.answer.called:
                self.free -= 1
                probe.begin(self._kind)


@implementer(IReadWriteDescriptor)
class _Probe:
    """One connection; ``answer`` fires once, and ``closed`` is called when the socket is no more."""

    def __init__(self, reactor: Any, host: str, port: int, timeout: float, closed: Callable[[], None]) -> None:
        self.answer: Deferred[str] = Deferred(lambda _: self._close())
        self._reactor = reactor
        self._address = (host, port)
        self._timeout = timeout
        self._closed = closed
        self._socket: socket.socket | None = None
        self._timer: Any = None

    def begin(self, kind: type[socket.socket]) -> None:
        try:
            family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            self._socket = kind(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            error = self._socket.connect_ex(self._address)
            if error in _UNDER_WAY:
                error = self._socket.connect_ex(self._address)
        except OSError as problem:
            self._end(problem.strerror or str(problem))
            return
        if error in _UNDER_WAY:
            self._wait()
            self._reactor.addWriter(self)
        else:
            self._decided(error)

    def accepted(self) -> None:
        """It is connected."""
        self._end("")

    def doRead(self) -> None:
        """Only what asks something reads."""

    def doWrite(self) -> None:
        assert self._socket is not None
        self._reactor.removeWriter(self)
        self._decided(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: Any) -> None:
        """The reactor saw the socket break, or ends itself."""
        self._end("connection lost")

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def logPrefix(self) -> str:
        return "check"

    def _decided(self, error: int) -> None:
        assert self._socket is not None
        if error == errno.ECONNREFUSED:
            self._end(REFUSED)
        elif error:
            self._end(os.strerror(error).lower())
        elif self._socket.getsockname() == self._socket.getpeername():
            # A connect to a free port of the ephemeral range can meet itself: the kernel may choose that very port.
            self._end(REFUSED)
        else:
            self.accepted()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(self._timeout, self._late)

    def _late(self) -> None:
        self._end(silent(self._timeout))

    def _end(self, why: str) -> None:
        self._close()
        self._tell(why)

    def _tell(self, why: str) -> None:
        if not self.answer.called:
            self.answer.callback(why)

    def _close(self) -> None:
        ended, self._socket = self._socket, None
        timer, self._timer = self._timer, None
        if timer is not None:
            if timer.active():
                timer.cancel()
            if ended is not None:
                self._forget(ended)
        if ended is not None:
            ended.close()
            self._closed()

    def _forget(self, ended: socket.socket) -> None:
        self._socket = ended
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket = None


class _HTTPProbe(_Probe):
    path = "/"
    wanted = range(200, 400)

    _got = b""
    _read = 0

    def accepted(self) -> None:
        assert self._socket is not None
        try:
            self._socket.send(self._request())
        except OSError as problem:
            self._end((problem.strerror or str(problem)).lower())
            return
        self._wait()
        self._reactor.addReader(self)

    def doRead(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_ON)
        except BlockingIOError:
            return
        except OSError as problem:
            self._end((problem.strerror or str(problem)).lower())
            return
        self._read += len(data)
        if not self.answer.called:
            self._got += data[:LONGEST_LINE]
            self._judge(ended=not data)
        if not data or self._read >= READ_ON:
            self._close()

    def _judge(self, ended: bool) -> None:
        status = _STATUS.match(self._got)
        if status is not None:
            number = int(status[1])
            self._tell("" if number in self.wanted else f"status {number}")
        elif (
            b"\n" in self._got or len(self._got) >= LONGEST_LINE or not self._got.startswith(b"HTTP/"[: len(self._got)])
        ):
            self._end(NOT_HTTP)
        elif ended:
            self._end("it closed the connection without an answer")

    def _request(self) -> bytes:
        host, port = self._address
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {name}",
            "User-Agent: deployd",
            "Accept: */*",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode()
