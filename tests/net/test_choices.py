"""Several addresses of which one is enough."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from deployd.errors import DeploydError, NoAnswer, SecretRefused, Unreachable, UsageError
from deployd.net.addresses import client_endpoint, client_endpoints
from deployd.net.choices import Choice, Choices
from deployd.net.client import CHOICE_TIMEOUT, ClientPeer, Dial, connect
from deployd.net.link import Link
from deployd.net.secret import Secret
from tests.net.links import credentials, terms
from tests.net.test_link import FakeEndpoint


@implementer(IStreamClientEndpoint)
class DeadEndpoint:
    """Nobody answers, not even with a refusal."""

    def __init__(self) -> None:
        self.dialled = 0

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.dialled += 1
        return Deferred(lambda dialling: dialling.errback(ConnectingCancelledError(None)))


class ChoicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.a, self.b, self.c = (FakeEndpoint(self.clock, terms()) for _ in range(3))
        self.ends = {"a": self.a, "b": self.b, "c": self.c}

    def dial(self, **ends: Any) -> Dial:
        choices = Choices([Choice(end, f"{name}:1") for name, end in (ends or self.ends).items()])
        return Dial(self.clock, choices, "all of them", credentials())

    def connecting(self, dial: Dial) -> list[Any]:
        results: list[Any] = []
        Deferred.fromCoroutine(connect(dial)).addBoth(results.append)
        self.flush()
        return results

    def flush(self) -> None:
        for end in (self.a, self.b, self.c):
            end.flush()

    def test_the_first_that_answers_is_taken(self) -> None:
        self.a.up = False
        (peer,) = self.connecting(self.dial())
        self.assertEqual((peer.shown, len(self.b.pumps), len(self.c.pumps)), ("b:1", 1, 0))

    def test_one_that_fails_the_handshake_is_passed_over(self) -> None:
        self.a.factory = FakeEndpoint(self.clock, terms(secret=Secret("another"))).factory
        (peer,) = self.connecting(self.dial())
        self.assertEqual(peer.shown, "b:1")

    def test_a_dead_one_costs_three_seconds(self) -> None:
        results = self.connecting(self.dial(x=DeadEndpoint(), b=self.b))
        self.clock.advance(CHOICE_TIMEOUT - 0.1)
        self.assertEqual(results, [])
        self.clock.advance(0.1)
        self.flush()
        self.assertEqual(results[0].shown, "b:1")

    def test_the_one_that_was_reached_is_the_first_next_time(self) -> None:
        dial = self.dial()
        self.a.up = False
        self.connecting(dial)
        self.a.up = True
        (peer,) = self.connecting(dial)
        self.assertEqual(peer.shown, "b:1")
        self.b.up = False
        (peer,) = self.connecting(dial)
        self.assertEqual(peer.shown, "c:1")
        self.c.up = False
        (peer,) = self.connecting(dial)
        self.assertEqual(peer.shown, "a:1")

    def test_when_none_will_do_each_is_named_with_its_reason(self) -> None:
        self.a.up = self.c.up = False
        self.b.factory = FakeEndpoint(self.clock, terms(secret=Secret("another"))).factory
        (failure,) = self.connecting(self.dial())
        self.assertIsInstance(failure.value, SecretRefused)
        said = str(failure.value)
        self.assertTrue(said.startswith("none of 3 addresses will do: cannot reach a:1: "), said)
        self.assertIn("; b:1: the secret is wrong; cannot reach c:1: ", said)

    def test_the_kind_of_the_error_is_the_most_telling(self) -> None:
        results = self.connecting(self.dial(x=DeadEndpoint(), y=DeadEndpoint()))
        self.clock.pump([CHOICE_TIMEOUT] * 2)
        self.assertIsInstance(results[0].value, NoAnswer)
        self.a.up = False
        results = self.connecting(self.dial(a=self.a, y=DeadEndpoint()))
        self.clock.advance(CHOICE_TIMEOUT)
        self.assertIs(type(results[0].value), Unreachable)

    def test_giving_up_dials_no_further(self) -> None:
        dead = DeadEndpoint()
        results: list[Any] = []
        dialling = Deferred.fromCoroutine(connect(self.dial(x=dead, b=self.b))).addBoth(results.append)
        dialling.cancel()
        self.assertTrue(results[0].check(CancelledError))
        self.assertEqual((dead.dialled, len(self.b.pumps)), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def lose(self, end: FakeEndpoint, seconds: int) -> None:
        end.pumps[-1].serverIO.loseConnection()
        self.flush()
        for _ in range(seconds):
            self.clock.advance(1)
            self.flush()

    def test_a_restart_of_the_one_that_was_reached_is_no_reason_to_change_over(self) -> None:
        attached: list[str] = []

        async def attach(peer: ClientPeer) -> None:
            attached.append(peer.shown)

        link = Link(self.dial(), attach, failed=lambda error: None, retry=lambda attempt: 1.0)
        link.startService()
        self.flush()
        self.a.up = False
        self.lose(self.a, 2)
        self.assertEqual(len(self.b.pumps), 0)
        self.a.up = True
        self.clock.advance(1)
        self.flush()
        self.assertEqual(attached, ["a:1", "a:1"])
        link.stopService()
        self.flush()

    def test_a_link_goes_from_one_to_the_next_and_back(self) -> None:
        attached: list[str] = []
        failures: list[DeploydError] = []

        async def attach(peer: ClientPeer) -> None:
            attached.append(peer.shown)

        link = Link(self.dial(), attach, failed=failures.append, retry=lambda attempt: 1.0)
        link.startService()
        self.flush()
        for up, gone in ((self.b, self.a), (self.c, self.b), (self.a, self.c)):
            for end in (self.a, self.b, self.c):
                end.up = end is up
            self.lose(gone, 4)
        self.assertEqual(attached, ["a:1", "b:1", "c:1", "a:1"])
        self.a.up = False
        self.lose(self.a, 4)
        self.assertIn("none of 3 addresses", str(failures[-1]))
        link.stopService()
        self.flush()


class AddressListTests(SynchronousTestCase):
    def test_a_comma_stands_between_addresses(self) -> None:
        endpoint, shown = client_endpoints(MemoryReactorClock(), "a, b:7,tcp:c:8:timeout=2", 6000)
        assert isinstance(endpoint, Choices)
        self.assertEqual([choice.shown for choice in endpoint.in_order(0.0)], ["a:6000", "b:7", "tcp:c:8"])
        self.assertEqual(shown, "a:6000,b:7,tcp:c:8")

    def test_one_address_is_as_it_was(self) -> None:
        endpoint, shown = client_endpoints(MemoryReactorClock(), "a:7", 6000)
        self.assertTrue(IStreamClientEndpoint.providedBy(endpoint))
        self.assertEqual(shown, "a:7")

    def test_an_endpoint_string_may_hold_an_escaped_comma(self) -> None:
        _, shown = client_endpoints(MemoryReactorClock(), r"unix:/run/a\,b,c:1", 6000)
        self.assertEqual(shown, r"unix:/run/a\,b,c:1")

    def test_an_empty_one_and_too_many_are_usage_errors(self) -> None:
        for text in ("a:1,", ",a:1", "a:1,,b:1", ",", ",".join(["a:1"] * 17)):
            self.assertRaises(UsageError, client_endpoints, MemoryReactorClock(), text, 6000)

    def test_where_one_is_asked_for_several_are_a_usage_error(self) -> None:
        self.assertIn(
            "only one address",
            str(self.assertRaises(UsageError, client_endpoint, MemoryReactorClock(), "a:1,b:1", 6001)),
        )
