"""Checks against real servers, which refuse, hang, drip, and talk nonsense."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from deployd.processes.probing import READ_ON, Prober

HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class App(Factory):
    """Listens, and says ``says`` (piece by piece, 20 ms apart) to whoever has sent a request; then it may hang up."""

    noisy = False

    def __init__(self) -> None:
        self.says = [HEALTHY]
        self.ends = True
        self.heard: list[bytes] = []
        self.losses: list[str] = []
        self.open: set[Protocol] = set()
        self._port = None
        self.speaking = 0

    def listen(self, interface: str = "127.0.0.1") -> int:
        self._port = reactor.listenTCP(0, self, interface=interface)
        return int(self._port.getHost().port)

    def buildProtocol(self, address: object) -> Protocol:
        return _Talk(self)

    async def close(self) -> None:
        if self._port is None:
            return
        await self._port.stopListening()
        for protocol in list(self.open):
            protocol.transport.abortConnection()
        await until(lambda: not self.open and not self.speaking)


class _Talk(Protocol):
    def __init__(self, app: App) -> None:
        self._app = app

    def connectionMade(self) -> None:
        self._app.open.add(self)

    def dataReceived(self, data: bytes) -> None:
        self._app.heard.append(data)
        Deferred.fromCoroutine(self._speak())

    async def _speak(self) -> None:
        self._app.speaking += 1
        try:
            await self._say()
        finally:
            self._app.speaking -= 1

    async def _say(self) -> None:
        says, ends = self._app.says, self._app.ends
        for number, piece in enumerate(says):
            if number:
                await deferLater(reactor, 0.02)
            if self not in self._app.open:
                return
            self.transport.write(piece)
        if ends:
            self.transport.loseConnection()

    def connectionLost(self, reason: object) -> None:
        self._app.losses.append(reason.value.__class__.__name__)
        self._app.open.discard(self)


async def until(condition) -> None:
    limit = reactor.seconds() + 30
    while not condition():
        assert reactor.seconds() < limit, "it never comes"
        await deferLater(reactor, 0.005)


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


@pytest.fixture
def prober(app: App) -> Iterator[Prober]:
    made = Prober(reactor, at_once=50)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(until(lambda: made.free == 50)))


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def http(prober: Prober, port: int, timeout: float = 5.0, host: str = "127.0.0.1") -> Deferred[str]:
    return prober.http(host, port, timeout, "/health?deep=1", 200, 299)


@pytest_twisted.ensureDeferred
async def test_who_listens_passes_at_once_and_sees_an_orderly_end(app: App, prober: Prober) -> None:
    asked = prober.tcp("0.0.0.0", app.listen(), 5)
    assert asked.called, "a connect on this machine needs no turn of the reactor"
    assert await asked == ""
    await until(lambda: app.losses)
    assert app.losses == ["ConnectionDone"]


@pytest_twisted.ensureDeferred
async def test_ipv6_is_asked_like_ipv4(app: App, prober: Prober) -> None:
    port = app.listen("::1")
    assert await prober.tcp("::", port, 5) == ""
    assert await http(prober, port, host="::1") == ""
    assert f"Host: [::1]:{port}".encode() in app.heard[0]


@pytest_twisted.ensureDeferred
async def test_who_does_not_listen_refuses(prober: Prober) -> None:
    port = free_port()
    assert await prober.tcp("127.0.0.1", port, 5) == "connection refused"
    assert await http(prober, port) == "connection refused"


@pytest_twisted.ensureDeferred
async def test_an_app_whose_queue_is_full_gives_no_answer_in_time(prober: Prober) -> None:
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server:
        address = server.getsockname()
        with closing(socket.create_connection(address)):
            assert await prober.tcp(*address, 0.2) == "no answer within 0.2 s"


class Narcissus(socket.socket):
    """The kernel may choose the very port that is asked as the source port, where nobody listens on it."""

    def connect_ex(self, address: tuple[str, int]) -> int:
        if self.getsockname() != address:
            self.bind(address)
        return super().connect_ex(address)


@pytest_twisted.ensureDeferred
async def test_a_connect_that_meets_itself_is_refused() -> None:
    prober = Prober(reactor, kind=Narcissus)
    assert await prober.tcp("127.0.0.1", free_port(), 5) == "connection refused"
    assert await http(prober, free_port()) == "connection refused"


@pytest_twisted.ensureDeferred
async def test_an_answer_with_a_status_in_the_range_passes(app: App, prober: Prober) -> None:
    port = app.listen()
    assert await http(prober, port) == ""
    assert app.heard == [
        b"GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: deployd\r\n"
        b"Accept: */*\r\nConnection: close\r\n\r\n" % port
    ]


@pytest.mark.parametrize(
    ("says", "result"),
    [
        ([b"HTTP/1.1 500 Internal Server Error\r\n\r\n"], "status 500"),
        ([b"HTTP/1.0 204\r\n\r\n"], ""),
        ([b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"], "status 301"),
        ([b"HT", b"TP/1.", b"1 200 O", b"K\r", b"\n"], ""),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "not HTTP"),
        ([b"HTTP/1.1 twohundred OK\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 " + b"x" * 5000], "not HTTP"),
        ([b"\x15\x03\x01\x00\x02\x02\x0a"], "not HTTP"),
        ([b"HTTP/1.1 20"], "it closed the connection without an answer"),
        ([b""], "it closed the connection without an answer"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_an_app_answers_is_told(app: App, prober: Prober, says: list[bytes], result: str) -> None:
    app.says = says
    assert await http(prober, app.listen()) == result


@pytest_twisted.ensureDeferred
async def test_an_app_that_takes_the_request_and_hangs_gives_no_answer(app: App, prober: Prober) -> None:
    app.says, app.ends = [], False
    assert await http(prober, app.listen(), timeout=0.1) == "no answer within 0.1 s"
    await until(lambda: app.losses)


@pytest_twisted.ensureDeferred
async def test_an_app_that_drips_has_no_more_time_than_others(app: App, prober: Prober) -> None:
    app.says = [bytes([byte]) for byte in HEALTHY]
    assert await http(prober, app.listen(), timeout=0.1) == "no answer within 0.1 s"
    assert app.speaking, "it had more to say"
    await until(lambda: app.losses)


@pytest_twisted.ensureDeferred
async def test_an_answer_is_told_by_its_first_line_and_read_to_its_end(app: App, prober: Prober) -> None:
    """An app that is still writing its page sees no reset."""
    app.says = [HEALTHY, b"x" * 1000, b"y" * 1000]
    assert await http(prober, app.listen()) == ""
    assert app.speaking, "it had more to say"
    await until(lambda: app.losses)
    assert app.losses == ["ConnectionDone"]


@pytest_twisted.ensureDeferred
async def test_an_answer_without_end_is_not_read_without_end(app: App, prober: Prober) -> None:
    app.says, app.ends = [HEALTHY + b"x" * (READ_ON + 1)], False
    assert await http(prober, app.listen()) == ""
    await until(lambda: app.losses)


@pytest_twisted.ensureDeferred
async def test_an_answer_after_which_nobody_hangs_up_is_left_in_the_end(app: App, prober: Prober) -> None:
    app.ends = False
    assert await http(prober, app.listen(), timeout=0.1) == ""
    assert app.losses == []
    await until(lambda: app.losses)


@pytest_twisted.ensureDeferred
async def test_a_cancelled_question_leaves_nothing_behind(app: App, prober: Prober) -> None:
    app.says, app.ends = [], False
    asked = http(prober, app.listen())
    await until(lambda: app.heard)
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    await until(lambda: app.losses)


@pytest_twisted.ensureDeferred
async def test_no_more_than_so_many_are_asked_at_once(app: App, prober: Prober) -> None:
    app.says, app.ends = [], False
    prober.free -= 48
    port = app.listen()
    asked = [http(prober, port, timeout=0.2) for _ in range(4)]
    await until(lambda: len(app.open) == 2)
    asked[2].cancel()
    asked[2].addErrback(lambda failure: failure.trap(CancelledError))
    assert await asked[0] == "no answer within 0.2 s"
    app.says, app.ends = [HEALTHY], True
    assert await asked[3] == ""
    assert await asked[1] == "no answer within 0.2 s"
    assert len(app.heard) == 3
    prober.free += 48
