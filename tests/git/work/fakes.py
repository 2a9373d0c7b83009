"""Workers without processes: each says what a test has it say."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from deployd.git.work.messages import Document
from deployd.git.work.orders import Answer, Order
from deployd.git.work.spawning import Link, Listener


@define(eq=False)
class FakeLink:
    """``sent`` is what it was told; ``hung_up`` and ``killed`` are what became of it."""

    listener: Listener
    nice: int
    sent: list[tuple[Document, bytes, int | None]] = field(factory=list)
    hung_up: bool = False
    killed: bool = False

    def send(self, document: Document, body: bytes, file: int | None) -> None:
        self.sent.append((document, body, file))

    def hang_up(self) -> None:
        self.hung_up = True

    def kill(self) -> None:
        self.killed = True

    def ready(self) -> None:
        self.listener.said({"ready": 1}, b"")

    def answer(self, memory: int = 0, **document: object) -> None:
        self.listener.said({"answer": document, "memory": memory}, b"")

    def fail(self, kind: str, text: str = "") -> None:
        self.listener.said({"problem": {"kind": kind, "text": text}, "memory": 0}, b"")

    def end(self) -> None:
        self.listener.ended("signal 9")

    @property
    def jobs(self) -> list[str]:
        return [document["job"] for document, _, _ in self.sent]


class Forge:
    """Starts fake workers; ``broken``: none can be started."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.links: list[FakeLink] = []
        self.broken = False

    def spawn(self, listener: Listener, nice: int) -> Link:
        if self.broken:
            raise OSError(11, "no process left")
        self.links.append(FakeLink(listener, nice))
        return self.links[-1]


Waiting = Deferred[Answer]


def order(name: str = "job", **more: object) -> Order:
    return Order(name=name, **more)  # type: ignore[arg-type]
