"""Who is gone leaves nothing behind, not even until Python looks for cycles (deployd.net.peer, Note [Gone at once])."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.internet.task import Clock

from deployd.registry.dns import Streams
from tests.registry.rows import row
from tests.registry.test_dns import Wire, many, question, zone
from tests.registry.web import WebCase, gone


class GoneTests(WebCase):
    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def test_requests_of_any_kind(self) -> None:
        self.put(*[row(f"r{number:04}", namespace="x", meta={"k": "v" * 200}) for number in range(1000)])
        for path in ("/healthz", "/v1/services", "/v1/watch", "/x"):
            known: list[Any] = []
            channel, transport = self.connect()
            channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: r\r\n\r\n".encode() * 3)
            # It takes no more.
            if transport.producer is not None:
                transport.producer.pauseProducing()
            self.clock.advance(0)
            known = [ref(one) for one in (channel, *channel.requests)]
            # As real transports do.
            transport.producer = None
            channel.connectionLost(gone())
            self.clock.advance(0)
            del channel, transport
            self.channel = None
            self.assertEqual([one() for one in known], [None] * len(known), path)

    def test_streams_of_dns(self) -> None:
        streams = Streams(zone(*many(3)), Clock())
        stream = streams.buildProtocol(None)
        wire = Wire()
        stream.makeConnection(wire)
        stream.dataReceived(len(question()).to_bytes(2, "big") + question() + b"\x00")
        known = ref(stream)
        wire.producer = None
        stream.connectionLost()
        del stream
        self.assertIsNone(known())
