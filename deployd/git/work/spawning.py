"""Starting worker processes, and the socket to each of them."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone, ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.protocol import Protocol as Connection
from twisted.python.failure import Failure

from deployd.git.work.messages import Document, TooLong, Unpacker, packed

# What a worker keeps of the environment; secrets are none of its business.
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "HOME", "SSL_CERT_FILE")
_SOCKET = 3
_LAST_WORDS = 4000
_CONNECTION_DONE = Failure(ConnectionDone())


class Listener(Protocol):
    """Who is told what becomes of a worker's process."""

    def said(self, document: Document, body: bytes) -> None:
        """It sent a message."""

    def ended(self, how: str) -> None:
        """It is gone, and all that it said was told: ``how`` it ended, with its last words."""


class Link(Protocol):
    """One worker process, from outside."""

    def send(self, document: Document, body: bytes, file: int | None) -> None:
        """Send a message and a descriptor; raise OSError or TooLong."""

    def hang_up(self) -> None:
        """Let it end when it has read everything."""

    def kill(self) -> None:
        """End it at once."""


Spawn = Callable[[Listener, int], Link]
"""Starts a worker process of that niceness; raises OSError."""


def spawner(reactor: Any, memory: int, module: str = "deployd.git.work.worker") -> Spawn:
    """What starts workers of ``memory`` bytes of data each; ``module`` is the main of their program."""

    def spawn(listener: Listener, nice: int) -> Link:
        terms = json.dumps({"memory": memory, "nice": nice, "parent": os.getpid()})
        words = [sys.executable, "-m", module, terms]
        variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            link = _SocketLink(listener, ours)
            # Without uid, gid and path Twisted need not fork, which a large process would wait for.
            children = {0: "w", 1: "r", 2: "r", _SOCKET: theirs.fileno()}
            reactor.spawnProcess(link.process, words[0], words, variables, childFDs=children)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: link.connection))
        return link

    return spawn


class _SocketLink:
    """Ends when both the process has and everything that it sent was read."""

    def __init__(self, listener: Listener, ours: socket.socket) -> None:
        self.process = _Process(self)
        self.connection = _Wire(self)
        self._listener = listener
        self._socket = ours
        self._how = ""

    def send(self, document: Document, body: bytes, file: int | None) -> None:
        pieces = packed({**document, "file": file is not None}, body)
        if file is not None:
            # At once, since its number may be another file's a moment later; a worker that waits has read all before.
            sent = socket.send_fds(self._socket, pieces[:1], [file])
            pieces[0] = pieces[0][sent:]
        self.connection.transport.writeSequence(pieces)

    def hang_up(self) -> None:
        self.connection.transport.loseConnection()

    def kill(self) -> None:
        with suppress(ProcessExitedAlready):
            self.process.transport.signalProcess("KILL")

    def heard(self, document: Document, body: bytes) -> None:
        self._listener.said(document, body)

    def exited(self, reason: str) -> None:
        words = self.process.words.decode("utf-8", "replace").strip()
        self._how = f"{reason}: {words}" if words else reason
        self._settle()

    def disconnected(self) -> None:
        self._socket.close()
        # A worker without its connection is of no use.
        self.kill()
        self._settle()

    def _settle(self) -> None:
        if self._how and self._socket.fileno() < 0:
            self._listener.ended(self._how)


class _Wire(Connection):
    transport: Any

    def __init__(self, link: _SocketLink) -> None:
        self._link = link
        self._unpacker = Unpacker()

    def dataReceived(self, data: bytes) -> None:
        try:
            for document, body in self._unpacker.feed(data):
                self._link.heard(document, body)
        except TooLong:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = _CONNECTION_DONE) -> None:
        self._link.disconnected()


class _Process(ProcessProtocol):
    transport: Any

    def __init__(self, link: _SocketLink) -> None:
        self._link = link
        self.words = b""

    def connectionMade(self) -> None:
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.words = (self.words + data)[-_LAST_WORDS:]

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self._link.exited(f"signal {value.signal}" if value.signal else f"exit code {value.exitCode}")
