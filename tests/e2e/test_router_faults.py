"""Bad requests and bad apps, over real sockets: the right status, no other request touched, nothing given away."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, get
from tests.e2e.printed import printed
from tests.e2e.waiting import until

HOST = b"shop.example"
FINE = b"fine\n"
PATIENCE = 60.0
STRANGE = (Path(__file__).parent / "deployed" / "strange.py").read_text()
RESET = struct.pack("ii", 1, 0)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n"


class Faulty:
    """A router before one strange app."""

    def __init__(self, directory: Path) -> None:
        self.cluster = Cluster(directory)
        self.cluster.start_core()
        self.drone = self.cluster.start_drone("d1", "--", "python3", "-S", "-E", "strange.py")
        self.router = self.cluster.start_router("r1")
        self.cluster.repository("webapp", {"strange.py": STRANGE}).push("webapp")
        self.cluster.deployctl("deploy", "webapp", "master")
        self.cluster.deployctl("route", "set", "shop.example", "webapp:http", "v1")
        ((row,),) = ([*roles["http"]] for roles in self.cluster.ports().values())
        self.target = f"{row['host']}:{row['port']}"

    def connect(self) -> socket.socket:
        host, _, port = self.router.http.rpartition(":")
        return socket.create_connection((host, int(port)), PATIENCE)

    def ask(self, data: bytes, shut: bool = False) -> bytes:
        """Everything that comes back for ``data`` until the router ends the connection."""
        with self.connect() as connection:
            try:
                connection.sendall(data)
                if shut:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It has refused already.
            return until_end(connection)

    def seen(self) -> str:
        """What the app wrote down."""
        return printed(self.drone.state).decode()

    def is_well(self) -> None:
        answer = self.ask(b"GET /well HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert (status(answer), answer.endswith(FINE)) == (200, True), answer

    def gives_nothing_away(self, answer: bytes) -> None:
        for daemon in self.cluster.daemons.values():
            for address in daemon.addresses().values():
                assert daemon is self.router or str(address).encode() not in answer, answer
        assert self.target.encode() not in answer
        assert not re.search(rb"Traceback|twisted|/work|\.py", answer, re.IGNORECASE), answer


def until_end(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def status(answer: bytes) -> int:
    """The first answer's; 0 without any."""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    made = Faulty(tmp_path_factory.mktemp("faulty"))
    yield made
    made.cluster.close()


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /post HTTP/1.1", b"Host: shop.example", *lines, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"
REFUSED = {
    "length and chunks": post(b"Content-Length: 6", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": post(CHUNKED, b"Content-Length: 6", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 60", body=SMUGGLED),
    "a list of lengths": post(b"Content-Length: 0, 60", body=SMUGGLED),
    "a signed length": post(b"Content-Length: +0", body=SMUGGLED),
    "a hex length": post(b"Content-Length: 0x0", body=SMUGGLED),
    "an unknown coding": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunked not last": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED),
    "chunked twice": post(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a tab before the colon": post(b"Content-Length\t: 6", body=SMUGGLED),
    "a vertical tab in the coding": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a folded line": post(b"X-Long: a", b" Content-Length: 60", b"Content-Length: 0", body=SMUGGLED),
    "a folded coding": post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a space before the first field": b"GET / HTTP/1.1\r\n Host: shop.example\r\n\r\n",
    "a bare CR in a value": post(b"X-A: b\rTransfer-Encoding: chunked", b"Content-Length: 0", body=SMUGGLED),
    "a NUL in a value": post(b"X-A: b\0", b"Content-Length: 0", body=SMUGGLED),
    "a NUL in a name": post(b"X\0A: b", b"Content-Length: 0", body=SMUGGLED),
    "a field without colon": post(b"X-A", b"Content-Length: 0", body=SMUGGLED),
    "two hosts": b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: other.example\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: shop.example/x\r\n\r\n",
    "a host with a login": b"GET / HTTP/1.1\r\nHost: a@shop.example\r\n\r\n",
    "another host in the target": b"GET http://other.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    "a request line of two words": b"GET /\r\nHost: shop.example\r\n\r\n",
    "a request line of four words": b"GET / x HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    "a bare CR in the request line": b"GET /\rx HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    "a method that is none": b"G(T / HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    "a chunk size that is none": post(CHUNKED, body=b"xyz\r\n" + SMUGGLED),
    "a chunk size with a sign": post(CHUNKED, body=b"-1\r\n" + SMUGGLED),
    "a chunk size with 0x": post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "an endless chunk size": post(CHUNKED, body=b"f" * 40 + b"\r\n" + SMUGGLED),
    "a chunk longer than it says": post(CHUNKED, body=b"3\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "a bare LF after a chunk size": post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "a bare LF in a chunk extension": post(CHUNKED, body=b"5;a=b\nx\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "an endless chunk extension": post(CHUNKED, body=b"5;a=" + b"b" * 100_000 + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
}
OTHERWISE = {
    431: b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n",
    404: b"GET / HTTP/1.1\r\nHost: nosuch.example\r\nConnection: close\r\n\r\n",
    505: b"GET / HTTP/3.0\r\nHost: shop.example\r\n\r\n",
}


def test_bad_requests_are_refused_and_smuggle_nothing(faulty: Faulty) -> None:
    wrong = []
    for name, data in REFUSED.items():
        answer = faulty.ask(data)
        if status(answer) not in (400, 501) or answer.count(b"HTTP/1.1 ") != 1:
            wrong.append(f"{name}: {answer[:200]!r}")
        faulty.gives_nothing_away(answer)
    for code, data in OTHERWISE.items():
        answer = faulty.ask(data)
        if status(answer) != code:
            wrong.append(f"{code}: {answer[:200]!r}")
        faulty.gives_nothing_away(answer)
    assert not wrong, "\n".join(wrong)
    assert "smuggled" not in faulty.seen()
    faulty.is_well()


def test_unusual_requests_reach_the_app_as_they_were_meant(faulty: Faulty) -> None:
    close = b"Connection: close"
    extension = post(CHUNKED, close, body=b"5;a=b\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n")
    absolute = b"GET http://shop.example/absolute HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
    same = post(b"Content-Length: 3", close, body=b"end")
    old = b"GET /old HTTP/1.0\r\nHost: shop.example\r\n\r\n"
    for data in (extension, absolute, same, old):
        answer = faulty.ask(data)
        assert (status(answer), answer.endswith(FINE)) == (200, True), (data, answer)
    seen = faulty.seen()
    assert "GET /absolute HTTP/1.1" in seen
    assert "a=b" not in seen
    # A client that has shut its side waits for its answer all the same.
    answer = faulty.ask(b"GET /shut HTTP/1.1\r\nHost: shop.example\r\n\r\n", shut=True)
    assert (status(answer), answer.endswith(FINE)) == (200, True), answer
    faulty.is_well()


def test_what_a_client_says_about_itself_is_dropped(faulty: Faulty) -> None:
    lines = [b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"X-Forwarded-Proto: https", b"X-Real-Ip: 6.6.6.6"]
    lines += [
        b"Connection: close, X-Secret",
        b"X-Secret: s3",
        b"Keep-Alive: 5",
        b"Proxy-Connection: keep-alive",
        b"TE: x",
    ]
    request = b"\r\n".join([b"GET /forwarded HTTP/1.1", b"Host: shop.example", *lines, b"", b""])
    assert status(faulty.ask(request)) == 200
    (line,) = (line for line in faulty.seen().splitlines() if "/forwarded" in line)
    for word in ("6.6.6.6", "s3", "keep-alive:", "proxy-connection", "te: x"):
        assert word not in line.lower(), (word, line)
    assert "127.0.0.1" in line


UNUSABLE = {
    "/die": 502,
    "/garbage": 502,
    "/half-a-head": 502,
    "/bad-length": 502,
    "/two-lengths": 502,
    "/both-lengths": 502,
    "/bad-chunks": 502,
    "/huge-head": 502,
    "/switch": 502,
}


def test_answers_that_are_none_are_502_and_end_nothing_else(faulty: Faulty) -> None:
    wrong = []
    for path, code in UNUSABLE.items():
        answer = faulty.ask(b"GET %b HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n" % path.encode())
        if status(answer) != code:
            wrong.append(f"{path}: {answer[:200]!r}")
        faulty.gives_nothing_away(answer)
        faulty.is_well()
    assert not wrong, "\n".join(wrong)


def test_an_answer_that_is_torn_is_seen_to_be_torn(faulty: Faulty) -> None:
    for path in ("/torn", "/torn-chunks"):
        answer = faulty.ask(b"GET %b HTTP/1.1\r\nHost: shop.example\r\n\r\n" % path.encode())
        assert (status(answer), b"fine" in answer) == (200, True), answer
        assert not answer.endswith(b"0\r\n\r\n"), answer
        assert answer.count(b"HTTP/1.1") == 1, answer
        faulty.is_well()


def test_a_second_answer_that_nobody_asked_for_reaches_nobody(faulty: Faulty) -> None:
    for _ in range(5):
        answer = faulty.ask(b"GET /two-answers HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert (status(answer), b"evil" in answer) == (200, False), answer
        faulty.is_well()


def test_slow_clients_and_apps_that_hang_hold_up_nobody(faulty: Faulty) -> None:
    slow = [faulty.connect() for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall([b"GET / HT", b"GET /hang HTTP/1.1\r\nHost: shop.example\r\n\r\n"][number % 2])
    for _ in range(5):
        faulty.is_well()
    until(lambda: faulty.seen().count("/hang") == 50, "those that hang were asked")
    for connection in slow:
        # A client that only ended its side would wait for its answer still.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
    faulty.is_well()


def test_the_app_gone_is_503_or_502_and_its_port_in_other_hands_is_not_asked(faulty: Faulty) -> None:
    """The last test here: it takes the app away."""
    (row,) = faulty.cluster.json("ps")
    faulty.cluster.deployctl("stop", row["id"])
    host, _, port = faulty.target.rpartition(":")
    with socket.create_server((host, int(port))) as foreign:
        foreign.settimeout(0.2)
        answer = faulty.ask(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        assert status(answer) == 503, answer
        faulty.gives_nothing_away(answer)
        with pytest.raises(TimeoutError):
            foreign.accept()
    faulty.cluster.deployctl("restart", row["id"])
    until(lambda: get(faulty.router.http) and True, "it answers")
