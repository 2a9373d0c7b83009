"""HTTP connections are bounded in number, in the time of a head, and in what waits for a client that does not read."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.net.http import BoundedSite

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
TIMEOUT = 30


class Transport(StringTransport):
    """A client whose kernel takes ``room`` bytes until it reads them."""

    room = 1000

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > self.room and self.producer is not None and self.producerState == "producing":
            self.producer.pauseProducing()

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def read(self) -> bytes:
        """The client reads all that waits for it."""
        data = self.value()
        self.clear()
        if self.producer is not None and self.producerState == "paused":
            self.producer.resumeProducing()
        return data

    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.disconnecting = True


class Answering(Resource):
    """Answers with 600 bytes at once, or when ``held`` is let go."""

    isLeaf = True
    hold = False

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Request] = []

    def render(self, request: Request) -> Any:
        if self.hold:
            self.held.append(request)
            return NOT_DONE_YET
        return b"x" * 600


class BoundedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.resource = Answering()
        self.site = BoundedSite(self.resource, timeout=TIMEOUT, reactor=self.clock)
        self.site.limit = 3

    def connect(self) -> tuple[Any, Transport]:
        channel = self.site.buildProtocol(IPv4Address("TCP", "10.0.0.9", 4000))
        transport = Transport(peerAddress=IPv4Address("TCP", "10.0.0.9", 4000))
        channel.makeConnection(transport)
        return channel, transport

    def test_a_head_that_trickles_in_has_no_longer_than_one_that_does_not_come(self) -> None:
        channel, transport = self.connect()
        for second in range(TIMEOUT):
            self.assertFalse(transport.disconnecting, second)
            channel.dataReceived(HEAD[second % 20 : second % 20 + 1])
            self.clock.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_each_request_of_a_connection_has_the_time_anew(self) -> None:
        channel, transport = self.connect()
        for _ in range(3):
            self.clock.advance(TIMEOUT - 1)
            channel.dataReceived(HEAD + b"\r\n")
            self.assertIn(b" 200 ", transport.read())
        self.clock.advance(TIMEOUT)
        self.assertTrue(transport.disconnecting)

    def test_a_body_may_take_longer_as_long_as_it_goes_on(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(POST)
        for _ in range(9):
            self.clock.advance(TIMEOUT - 1)
            channel.dataReceived(b"x")
        self.assertFalse(transport.disconnecting)
        self.clock.advance(TIMEOUT)
        self.assertTrue(transport.disconnecting)

    def test_the_head_after_a_body_has_its_time_as_a_whole_again(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(POST + b"x" * 10)
        self.assertIn(b" 200 ", transport.read())
        for _ in range(TIMEOUT):
            channel.dataReceived(b"G")
            self.clock.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_requests_that_came_together_are_answered_as_the_client_reads(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived((HEAD + b"\r\n") * 100)
        self.assertLess(transport.value().count(b" 200 "), 4)
        self.assertEqual(transport.producerState, "paused")
        received = b""
        for _ in range(100):
            received += transport.read()
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 100)

    def test_nothing_more_is_read_while_an_answer_is_under_way_that_the_client_does_not_read(self) -> None:
        self.resource.hold = True
        channel, transport = self.connect()
        channel.dataReceived(HEAD + b"\r\n")
        (request,) = self.resource.held
        request.write(b"x" * 2000)
        self.assertEqual(transport.producerState, "paused")
        transport.read()
        self.assertEqual(transport.producerState, "producing")
        request.finish()
        channel.dataReceived(HEAD + b"\r\n")
        self.assertEqual(len(self.resource.held), 2)
        self.resource.held[1].finish()

    def test_a_client_that_never_reads_is_let_go_at_the_timeout(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived((HEAD + b"\r\n") * 100)
        self.clock.advance(TIMEOUT)
        self.assertTrue(transport.disconnecting)
        transport.read()
        self.assertEqual(transport.value(), b"", "the rest of its requests is not answered")

    def test_connections_beyond_the_limit_are_closed_at_once(self) -> None:
        channels = [self.connect()[0] for _ in range(3)]
        self.assertIsNone(self.site.buildProtocol(None))
        channels[0].connectionLost()
        self.assertIsNotNone(self.site.buildProtocol(None))

    def test_all_can_be_closed(self) -> None:
        transports = [self.connect()[1] for _ in range(3)]
        self.site.close_all()
        self.assertEqual([transport.disconnecting for transport in transports], [True] * 3)
