"""Knocking at an app until it opens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, NoRouteError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from deployd import errors
from deployd.processes.probing import probe_host
from deployd.processes.readiness import until_listening

HERE = IPv4Address("TCP", "127.0.0.1", 40000)
THERE = IPv4Address("TCP", "127.0.0.1", 20001)


@implementer(IStreamClientEndpoint)
class Door:
    """An endpoint that answers as the test says; ``knocks`` are the hosts, ports and times."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.knocks: list[tuple[str, int, float]] = []
        self.transports: list[StringTransport] = []
        self.answer: Callable[[IProtocolFactory], Deferred[IProtocol]] = self.refuse

    def at(self, host: str, port: int) -> Door:
        self.knocks.append((host, port, self.clock.seconds()))
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self.answer(protocolFactory)

    def refuse(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return fail(ConnectionRefusedError())

    def silent(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred(lambda silent: silent.errback(ConnectingCancelledError(THERE)))

    def accept(self, factory: IProtocolFactory, source: IAddress = HERE) -> Deferred[IProtocol]:
        accepted: Deferred[IProtocol] = Deferred()
        protocol = factory.buildProtocol(THERE)
        assert protocol
        transport = StringTransport(hostAddress=source, peerAddress=THERE)
        self.transports.append(transport)
        protocol.makeConnection(transport)
        accepted.callback(protocol)
        return accepted


class UntilListeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.door = Door(self.clock)

    def wait(self, deadline: float = 10) -> Deferred[None]:
        return until_listening(self.clock, self.door.at, "0.0.0.0", 20001, deadline)

    def pump(self, seconds: float) -> None:
        self.clock.pump([0.001] * round(seconds * 1000))

    def test_an_open_door_is_found_at_once_and_closed_again(self) -> None:
        self.door.answer = self.door.accept
        self.successResultOf(self.wait())
        self.assertEqual(self.door.knocks, [("127.0.0.1", 20001, 0)])
        self.assertTrue(self.door.transports[0].disconnecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_knocks_soon_at_first_then_ten_times_a_second(self) -> None:
        waiting = self.wait()
        self.pump(2)
        times = [when for _, _, when in self.door.knocks]
        self.assertLess(times[1], 0.007)
        self.assertAlmostEqual(times[-1] - times[-2], 0.1, places=2)
        self.door.answer = self.door.accept
        self.pump(0.11)
        self.successResultOf(waiting)

    def test_gives_up_at_the_deadline_with_the_reason(self) -> None:
        waiting = self.wait(deadline=3)
        self.pump(2.9)
        self.assertNoResult(waiting)
        self.pump(0.2)
        error = self.failureResultOf(waiting, errors.NoAnswer)
        self.assertEqual(str(error.value), "nothing listens on port 20001 of 127.0.0.1 after 3 s (connection refused)")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_silent_attempt_is_given_up_and_made_again(self) -> None:
        self.door.answer = self.door.silent
        waiting = self.wait()
        self.pump(1.5)
        self.assertEqual(len(self.door.knocks), 2)
        self.door.answer = self.door.accept
        self.pump(1)
        self.successResultOf(waiting)

    def test_silence_does_not_outlast_the_deadline(self) -> None:
        self.door.answer = self.door.silent
        waiting = self.wait(deadline=0.5)
        self.pump(0.6)
        self.assertIn("(no answer)", str(self.failureResultOf(waiting, errors.NoAnswer).value))

    def test_a_last_attempt_too_short_to_mean_anything_is_not_the_reason(self) -> None:
        waiting = self.wait(deadline=3)
        self.pump(2.5)
        self.door.answer = self.door.silent
        self.pump(1)
        self.assertIn("(connection refused)", str(self.failureResultOf(waiting, errors.NoAnswer).value))

    def test_any_failure_to_connect_is_a_reason_to_wait(self) -> None:
        self.door.answer = lambda factory: fail(Failure(NoRouteError(osError="no route")))
        waiting = self.wait(deadline=1)
        self.pump(1.1)
        self.assertIn("no route", str(self.failureResultOf(waiting, errors.NoAnswer).value))

    def test_a_connection_to_itself_is_nobody(self) -> None:
        """The kernel may choose the port knocked at as the source port, and the call answers itself."""
        self.door.answer = lambda factory: self.door.accept(factory, source=THERE)
        waiting = self.wait(deadline=1)
        self.pump(0.5)
        self.assertNoResult(waiting)
        self.assertTrue(self.door.transports[0].disconnecting)
        self.pump(0.6)
        self.failureResultOf(waiting, errors.NoAnswer)

    def test_is_cancelled_while_it_knocks_and_while_it_pauses(self) -> None:
        for answer in (self.door.silent, self.door.refuse):
            self.door.answer = answer
            waiting = self.wait()
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_app_on_every_address_is_knocked_at_on_loopback(self) -> None:
        self.assertEqual(
            [probe_host(host) for host in ("0.0.0.0", "::", "10.1.2.3", "127.0.0.1")],
            ["127.0.0.1", "::1", "10.1.2.3", "127.0.0.1"],
        )
