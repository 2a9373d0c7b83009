"""A hub's git service that is busy, slow or endless does not keep a drone's thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from deployd.errors import Busy, DeploydError, Refused, Unreachable
from deployd.git import pktlines
from deployd.git.limits import GitLimits
from deployd.git.mirror.fetching import fetch
from deployd.git.mirror.transfer import Source

COMMIT = "c0ffee" * 6 + "abcd"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n\r\n"
TIMEOUT, PATIENCE = 0.5, 60.0

Answer = Callable[[socket.socket], None]
Ask = Callable[[Answer], DeploydError]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """How a fetch fails, with a hub that does what it is told after the request."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve(answer: Answer) -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with closing(connection):
                    connection.recv(1 << 16)
                    answer(connection)

        def failure(answer: Answer) -> DeploydError:
            serving = threading.Thread(target=serve, args=(answer,))
            serving.start()
            url = f"http://127.0.0.1:{server.getsockname()[1]}/webapp.git"
            with pytest.raises(DeploydError) as caught:
                fetch(tmp_path / "webapp.git", Source(url, "drone", "token"), COMMIT, TIMEOUT, GitLimits())
            serving.join()
            return caught.value

        yield failure


def for_ever(text: bytes, pause: float = 0.0) -> Answer:
    """``text`` again and again until the drone hangs up, or has shown that it never does."""

    def answer(connection: socket.socket) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            connection.sendall(text)
            time.sleep(pause)

    return answer


def after(head: bytes, rest: Answer) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        rest(connection)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        after(b"HTTP/1.1 200 OK\r\nX-Slow: ", for_ever(b"x", 0.05)),
        after(HEAD + b"fff0", for_ever(b"x", 0.05)),
        after(HEAD, for_ever(pktlines.line(b"NAK\n"), 0.05)),
        after(HEAD + pktlines.FLUSH + b"fff0", for_ever(b"\1", 0.05)),
    ],
    ids=["headers", "one line", "many lines", "pack"],
)
def test_a_hub_that_drips_is_left_at_the_deadline(ask: Ask, answer: Answer) -> None:
    began = time.monotonic()
    error = ask(answer)
    assert isinstance(error, Unreachable), error
    assert "did not arrive in time" in str(error)
    assert time.monotonic() - began < PATIENCE / 2


def test_a_history_that_is_cut_everywhere_is_refused(ask: Ask) -> None:
    lines = b"".join(pktlines.line(b"shallow %040x\n" % number) for number in range(2000))
    error = ask(lambda connection: connection.sendall(HEAD + lines + pktlines.FLUSH))
    assert isinstance(error, Refused), error
    assert "too many places" in str(error)


def test_a_busy_hub_is_said_to_be_busy(ask: Ask) -> None:
    error = ask(lambda connection: connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))
    assert isinstance(error, Busy), error
