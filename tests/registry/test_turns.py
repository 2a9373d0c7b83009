"""Over HTTP and DNS too, who asks a lot at once is answered in turns."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.net.turns import MOMENT
from deployd.registry.dns import Streams
from tests.net.test_turns import Reactor
from tests.registry.test_dns import Wire, many, question, zone
from tests.registry.web import WebCase


class HttpTests(WebCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Reactor()
        self.begin()

    def test_pipelined_requests_are_answered_in_turns(self) -> None:
        channel, flood = self.connect()
        self.clock.passing = MOMENT / 100
        channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: r\r\n\r\n" * 200)
        answered = [flood.value().count(b"HTTP/1.1 200")]
        self.assertTrue(1 <= answered[0] < 60, answered)
        other = self.ask("/healthz")
        self.assertIn(b"HTTP/1.1 200", other.value())
        while answered[-1] < 200:
            self.clock.turn()
            answered.append(flood.value().count(b"HTTP/1.1 200"))
            self.assertTrue(0 < answered[-1] - answered[-2] < 60, answered)

    def test_whose_turn_never_comes_is_forgotten(self) -> None:
        channel, _ = self.connect()
        self.clock.passing = MOMENT
        channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: r\r\n\r\n" * 200)
        self.assertEqual(len(self.site.turns), 1)
        channel.connectionLost()
        self.assertEqual(len(self.site.turns), 0)


class DnsTests(SynchronousTestCase):
    def test_pipelined_questions_are_answered_in_turns(self) -> None:
        clock = Reactor()
        streams = Streams(zone(*many(3)), clock)
        flood, other = streams.buildProtocol(None), streams.buildProtocol(None)
        wires = [Wire(), Wire()]
        asked = len(question()).to_bytes(2, "big") + question()
        for stream, wire in zip((flood, other), wires, strict=True):
            stream.makeConnection(wire)
        clock.passing = MOMENT / 2
        flood.dataReceived(asked * 20)
        self.assertEqual(len(wires[0].answers()), 1)
        self.assertEqual(wires[0].producerState, "paused")
        other.dataReceived(asked)
        self.assertEqual(len(wires[1].answers()), 1)
        for _ in range(25):
            clock.turn()
        self.assertEqual((len(wires[0].answers()), wires[0].producerState), (20, "producing"))
        flood.dataReceived(asked * 20)
        for stream in (flood, other):
            stream.connectionLost()
        self.assertEqual((len(streams.turns), clock.getDelayedCalls()), (0, []))
