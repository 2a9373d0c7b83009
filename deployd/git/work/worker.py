"""The main of a git worker: does one job after the other, for as long as the process that it works for lives.

``python -m deployd.git.work.worker TERMS``: TERMS are JSON, ``memory`` (bytes of data that it may have), ``nice`` and
``parent``; descriptor 3 is a socket on which messages come and go (deployd.git.work.messages). It has no reactor: a job
may block. What jobs print goes to stderr, which the parent logs.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployd.git.work import faults
from deployd.git.work.jobs import JOBS
from deployd.git.work.messages import Document, Unpacker, packed
from deployd.git.work.parents import end_with
from deployd.git.work.tasks import Shelf, Task

SOCKET = 3
_PIECE = 1 << 20
_PAGE = resource.getpagesize()


def main(argv: list[str]) -> None:
    terms = json.loads(argv[1])
    _settle(terms["memory"], terms["nice"], terms["parent"])
    with socket.socket(fileno=SOCKET) as connection:
        _Bench(connection).work()


def _settle(memory: int, nice: int, parent: int) -> None:
    """Take the bounds of a worker, and the kernel's promise that none outlives its parent."""
    if not end_with(parent):
        sys.exit("the parent has gone already")
    # A Ctrl-C in the terminal is for the parent, which lets a job that nobody may cut short come to its end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not RLIMIT_AS: packs are mapped, whatever their size.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # A pack that is open has two descriptors.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if nice:
        os.nice(nice)
    # Jobs make millions of objects and hardly a cycle; looking for those was a fifth of the time of drawing a chart.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class _Bench:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._shelf = Shelf()
        self._files: list[int] = []

    def work(self) -> None:
        self._say({"ready": os.getpid()})
        for document, body in self._messages():
            file = self._files.pop(0) if document["file"] else None
            try:
                task = Task(document["arguments"], body, file, self._shelf, lambda note: self._say({"note": note}))
                self._answer(document["job"], task)
            finally:
                if file is not None:
                    with suppress(OSError):
                        os.close(file)

    def _answer(self, name: str, task: Task) -> None:
        try:
            document, body = JOBS[name](task)
        except Exception as error:
            self._shelf.clear()
            self._say({"problem": faults.written(error), "memory": _memory()})
        else:
            self._shelf.tidy()
            self._say({"answer": document, "memory": _memory()}, body)

    def _messages(self) -> Iterator[tuple[Document, bytes]]:
        unpacker = Unpacker()
        while True:
            data, files, _, _ = socket.recv_fds(self._connection, _PIECE, 1, socket.MSG_CMSG_CLOEXEC)
            self._files += files
            if not data:
                return
            yield from unpacker.feed(data)

    def _say(self, document: Document, body: bytes = b"") -> None:
        for piece in packed(document, body):
            self._connection.sendall(piece)


def _memory() -> int:
    """The bytes that are this process's own, mapped files left out."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * _PAGE


if __name__ == "__main__":
    main(sys.argv)
