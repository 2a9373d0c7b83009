"""A request whose client takes what it likes to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from deployd.git import pktlines


class FakeRequest:
    """Takes as much as ``room`` before it says that it is behind; ``sent`` is what it has."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.sent: list[bytes] = []
        self.room = self.free = room
        self.aborted = False
        self.producer: Any = None
        self.gone: Deferred[None] = Deferred()
        self.channel = SimpleNamespace(transport=SimpleNamespace(abortConnection=self.lose))

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.sent.append(data)
        self.free -= len(data)
        if self.free <= 0 and self.producer is not None:
            self.producer.pauseProducing()

    def drain(self) -> None:
        """The client has read everything."""
        self.free = self.room
        self.producer.resumeProducing()

    def notifyFinish(self) -> Deferred[None]:
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def lose(self) -> None:
        self.aborted = True
        self.gone.errback(Failure(ConnectionLost()))

    def bands(self) -> dict[int, bytes]:
        """What came on each channel; 0 is what ended it."""
        found: dict[int, bytes] = {}
        data = b"".join(self.sent)
        while data:
            size = int(data[:4], 16)
            channel, content = (data[4], data[5:size]) if size else (0, b"end")
            assert size <= pktlines.MAX_LINE
            found[channel] = found.get(channel, b"") + content
            data = data[max(size, 4) :]
        return found

    def lines(self) -> list[str]:
        """What came behind ``remote:``, a line a frame."""
        return [data[5:].decode().rstrip("\n") for data in self.sent if data[4] == 2]
