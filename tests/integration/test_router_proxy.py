"""The proxy on real sockets: tunnels, large bodies at slow readers, half-closed connections, apps that die."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.integration.certificates import Authority
from tests.integration.proxied import HELD, MEGABYTE, App, Echo, Sink, Site, Source, answering, until_end

reactor: Any = _reactor


@pytest_twisted.ensureDeferred
async def test_a_tunnel_carries_bytes_both_ways_and_ends_side_by_side() -> None:
    site = Site(App(Echo))

    def talk() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(65536)
            assert head.startswith(b"HTTP/1.1 101 Go\r\n"), head
            sock.sendall(b"hello " * 100_000)
            sock.shutdown(socket.SHUT_WR)
            return until_end(sock)

    try:
        assert await deferToThread(talk) == b"HELLO " * 100_000 + b" bye"
        assert site.in_flight == 0
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_a_large_body_waits_for_a_slow_app_where_it_was() -> None:
    app = App(Sink)
    size = app.factory.expected = 100 * MEGABYTE  # type: ignore[attr-defined]
    site = Site(app)
    sent = [0]

    def upload() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * 65536
            while sent[0] < size:
                sock.sendall(block)
                sent[0] += len(block)
            return until_end(sock)

    try:
        uploading = deferToThread(upload)
        before = -1
        while sent[0] != before or not sent[0]:
            before = sent[0]
            await deferLater(reactor, 0.5)
        assert sent[0] < HELD
        sink: Any = app.factory.made  # type: ignore[attr-defined]
        sink.transport.resumeProducing()
        assert (await uploading).startswith(b"HTTP/1.1 200 OK\r\n")
        assert sink.taken == size
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_a_large_answer_waits_for_a_slow_client_where_it_was() -> None:
    app = App(Source)
    site = Site(app)

    def ask() -> socket.socket:
        sock = site.connect()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return sock

    def count(sock: socket.socket) -> int:
        with sock:
            total = 0
            while piece := sock.recv(1 << 20):
                total += len(piece)
            return total

    try:
        sock = await deferToThread(ask)
        before, written = -1, 0
        while written != before or not written:
            await deferLater(reactor, 0.5)
            before = written
            written = getattr(getattr(app.factory, "made", None), "written", 0)
        assert written < HELD
        assert await deferToThread(count, sock) > Source.SIZE
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_tls_is_written_as_tls_and_slowed_down_as_well(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    source, answers = App(Source), answering()
    slow = Site(source, tls=authority.certify("localhost"))
    quick = Site(answers, tls=authority.certify("localhost"))
    context = authority.context()

    def ask() -> bytes:
        with context.wrap_socket(quick.connect(), server_hostname="localhost") as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return until_end(sock)

    def begin() -> socket.socket:
        sock = context.wrap_socket(slow.connect(), server_hostname="localhost")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return sock

    try:
        assert (await deferToThread(ask)).count(b"200 OK") == 4
        sock = await deferToThread(begin)
        while not getattr(getattr(source.factory, "made", None), "written", 0):
            await deferLater(reactor, 0.05)
        await deferLater(reactor, 1.0)
        assert source.factory.made.written < HELD  # type: ignore[attr-defined]
        assert len(await deferToThread(until_end, sock)) > Source.SIZE
        sock.close()
    finally:
        await slow.close()
        await quick.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_has_ended_its_side_is_answered() -> None:
    site = Site(answering())

    def ask() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            sock.shutdown(socket.SHUT_WR)
            return until_end(sock)

    try:
        assert (await deferToThread(ask)).count(b"200 OK") == 2
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_who_is_refused_while_still_sending_hears_why() -> None:
    site = Site(answering(), linger=20.0)

    def ask() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n")
            for _ in range(20):
                sock.sendall(b"x" * 65536)
            return until_end(sock)

    try:
        answer = await deferToThread(ask)
        assert answer.startswith(b"HTTP/1.1 501 "), answer
        assert not answer.endswith(b"(reset)")
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_who_is_answered_while_still_sending_slowly_hears_it() -> None:
    site = Site(answering())

    def ask() -> bytes:
        with site.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
            answer = until_end(sock)
            # Nothing of this was there when the router had sent the answer and ended its side.
            for _ in range(20):
                sock.sendall(b"x" * 1000)
            return answer + until_end(sock)

    try:
        answer = await deferToThread(ask)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert not answer.endswith(b"(reset)")
    finally:
        await site.close()


@pytest_twisted.ensureDeferred
async def test_no_request_fails_while_apps_die_and_return() -> None:
    apps = [answering() for _ in range(3)]
    site = Site(*apps)
    over = [False]

    def ask(requests: int) -> int:
        """How many of them were answered as they should be."""
        good = 0
        sock = site.connect()
        for _ in range(requests):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"hi"):
                piece = sock.recv(65536)
                if not piece:
                    break
                answer += piece
            good += answer.startswith(b"HTTP/1.1 200 OK\r\n")
        sock.close()
        return good

    async def kill() -> None:
        chance = random.Random(3)
        while not over[0]:
            app = chance.choice(apps)
            await app.die()
            await deferLater(reactor, 0.02)
            app.listen()
            await deferLater(reactor, 0.01)

    try:
        killing = Deferred.fromCoroutine(kill())
        good = await gatherResults([deferToThread(ask, 250) for _ in range(4)])
        over[0] = True
        await killing
        assert good == [250] * 4
        assert site.in_flight == 0
    finally:
        over[0] = True
        await site.close()
