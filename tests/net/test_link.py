"""A link is kept up: it dials again, attaches anew, and tells why it is down."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import connect
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from deployd.errors import DeploydError, SecretRefused, Unreachable
from deployd.net.client import Dial
from deployd.net.link import Link
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.testing.transports import transport
from deployd.wire.handshake import Ping
from tests.net.links import credentials, terms


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Connects to a server over iosim, or refuses while ``up`` is false."""

    def __init__(self, clock: Clock, server_terms: ServerTerms) -> None:
        self.factory = ServerFactory(clock, server_terms)
        self.up = True
        self.pumps: list[Any] = []

    def connect(self, protocolFactory: Any) -> Deferred:
        if not self.up:
            return fail(ConnectionRefusedError())
        server, client = self.factory.buildProtocol(None), protocolFactory.buildProtocol(None)
        assert server is not None
        pump = connect(server, transport(server, True), client, transport(client, False))
        self.pumps.append(pump)
        result: Deferred = Deferred()
        result.callback(client)
        return result

    def flush(self) -> None:
        for pump in self.pumps:
            pump.flush()


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(self.clock, terms())
        self.attached: list[Peer] = []
        self.failures: list[DeploydError] = []
        self.attach_error: Exception | None = None

    def start(self, mine: Any = None) -> Link:
        async def attach(peer: Peer) -> None:
            if self.attach_error is not None:
                raise self.attach_error
            self.attached.append(peer)

        dial = Dial(self.clock, self.endpoint, "hub:6001", mine or credentials())
        link = Link(dial, attach, failed=self.failures.append, retry=lambda attempt: 1.0)
        link.startService()
        self.endpoint.flush()
        return link

    def later(self, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        self.endpoint.flush()

    def test_it_attaches_once_it_is_connected(self) -> None:
        link = self.start()
        self.assertEqual(len(self.attached), 1)
        self.assertIs(link.peer, self.attached[0])

    def test_it_attaches_anew_after_a_loss(self) -> None:
        link = self.start()
        self.attached[0].drop("test")
        self.endpoint.flush()
        self.assertIsNone(link.peer)
        self.later()
        self.assertEqual(len(self.attached), 2)
        self.assertIs(link.peer, self.attached[1])

    def test_it_tells_why_it_cannot_connect_and_tries_on(self) -> None:
        self.endpoint.up = False
        link = self.start()
        self.assertIn("hub:6001", str(self.failures[0]))
        self.assertIsInstance(self.failures[0], Unreachable)
        self.failureResultOf(link.call(Ping), Unreachable)
        self.endpoint.up = True
        self.later()
        self.assertEqual(len(self.attached), 1)

    def test_a_refused_secret_is_told_and_tried_again(self) -> None:
        self.start(credentials(Secret("wrong")))
        self.later()
        self.later()
        self.assertGreaterEqual(len(self.failures), 2)
        for failure in self.failures:
            self.assertIsInstance(failure, SecretRefused)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_failed_attach_is_told_and_tried_again(self) -> None:
        self.attach_error = SecretRefused("not you")
        link = self.start()
        self.assertIsNone(link.peer)
        self.attach_error = None
        self.later()
        self.assertEqual(len(self.attached), 1)

    def test_stopping_closes_the_connection_and_leaves_the_clock_empty(self) -> None:
        link = self.start()
        stopped = link.stopService()
        self.endpoint.flush()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.endpoint.factory.peers, set())

    def test_stopping_while_it_attaches_leaves_no_session_behind(self) -> None:
        """Also from within the attaching itself, which nobody can interrupt then."""
        stopped: list[Deferred] = []

        async def attach(peer: Peer) -> None:
            stopped.append(link.stopService())

        link = Link(Dial(self.clock, self.endpoint, "hub:6001", credentials()), attach, failed=self.failures.append)
        link.startService()
        self.endpoint.flush()
        self.successResultOf(stopped[0])
        self.assertIsNone(link.peer)
        self.assertEqual(self.endpoint.factory.peers, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.failures, [])

    def test_stopping_while_it_waits_is_quick(self) -> None:
        self.endpoint.up = False
        link = self.start()
        self.successResultOf(link.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])
