"""Pipes of a real process in a real reactor."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import deferLater

from deployd.processes.streams import HIGH, Streams


class Process:
    """A command with ``Streams``; ``change`` fires at its next news."""

    def __init__(self, *argv: str) -> None:
        self._waiting: list[Deferred[None]] = []
        self.streams = Streams(reactor, self._changed)
        stdin, stdout, stderr = self.streams.theirs
        self.process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr)
        self.streams.close_theirs()

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    async def until(self, condition: Callable[[], Any], limit: float = 30) -> None:
        while not condition():
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter.addTimeout(limit, reactor)

    async def all_output(self) -> tuple[bytes, bytes]:
        stdout = stderr = b""
        while not self.streams.over:
            await self.until(lambda: not self.streams.empty or self.streams.over)
            out, err = self.streams.take(48 * 1024)
            stdout, stderr = stdout + out, stderr + err
        return stdout, stderr

    def close(self) -> None:
        self.streams.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def begin() -> Any:
    begun: list[Process] = []

    def start(*argv: str) -> Process:
        begun.append(Process(*argv))
        return begun[-1]

    yield start
    for process in begun:
        process.close()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest_twisted.ensureDeferred
async def test_everything_comes_through_byte_by_byte_and_apart(begin: Any) -> None:
    cat = begin("sh", "-c", "cat; echo err >&2")
    sent = os.urandom(1_000_000)
    output = Deferred.fromCoroutine(cat.all_output())
    for start in range(0, len(sent), 48 * 1024):
        await cat.until(lambda: cat.streams.room)
        cat.streams.write(sent[start : start + 48 * 1024])
    cat.streams.end_input()
    assert await output == (sent, b"err\n")


@pytest_twisted.ensureDeferred
async def test_a_process_that_does_not_read_leaves_no_room(begin: Any) -> None:
    stopped = begin("sh", "-c", "kill -STOP $$; cat >/dev/null")
    while b") T " not in Path(f"/proc/{stopped.process.pid}/stat").read_bytes():
        await deferLater(reactor, 0.005)
    # What the pipe itself takes is not ours to bound.
    stopped.streams.write(b"x" * 200 * 1024)
    with pytest.raises(TimeoutError):
        await stopped.until(lambda: stopped.streams.room, 0.3)
    stopped.process.send_signal(signal.SIGCONT)
    await stopped.until(lambda: stopped.streams.room)


@pytest_twisted.ensureDeferred
async def test_a_process_that_nobody_takes_from_waits(begin: Any) -> None:
    yes = begin("yes")
    await yes.until(lambda: len(yes.streams._outputs[0]._buffer) >= HIGH)
    held = yes.streams._outputs[0].held
    assert held < 2 * HIGH
    yes.streams.take(held - 10)
    await yes.until(lambda: yes.streams._outputs[0].held > 10)


@pytest_twisted.ensureDeferred
async def test_input_that_nobody_reads_any_more_is_dropped(begin: Any) -> None:
    true = begin("true")
    await true.all_output()
    for _ in range(5):
        true.streams.write(b"x" * 48 * 1024)
    await true.until(lambda: true.streams.room)
    true.streams.end_input()


@pytest_twisted.ensureDeferred
async def test_no_descriptor_is_left_open(begin: Any) -> None:
    before = descriptors()
    ended = begin("echo", "x")
    assert await ended.all_output() == (b"x\n", b"")
    killed = begin("cat")
    killed.streams.write(b"x")
    for process in (ended, killed):
        process.close()
    assert descriptors() == before
