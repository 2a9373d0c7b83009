"""Who asks a lot at once is answered in turns, and who asks little at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import connect
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Unreachable
from deployd.net.client import ClientPeer, Dial
from deployd.net.conversation import Conversation, responder
from deployd.net.server import ServerFactory
from deployd.net.turns import MOMENT, Turns
from deployd.testing.transports import transport
from deployd.wire.command import declared
from tests.net.links import credentials, terms


class Reactor(Clock):
    """A Clock that comes around as a reactor does: what is put off to now happens in the next turn.

    ``passing``: so many seconds pass each time that somebody looks at it.
    """

    passing = 0.0

    def seconds(self) -> float:
        self.rightNow += self.passing
        return float(super().seconds())

    def turn(self) -> None:
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Toil(amp.Command):
    """Client to server: something of which two take a turn."""

    arguments = [(b"number", amp.Integer())]
    response = [(b"number", amp.Integer())]
    errors = declared()


class Toiler(Conversation):
    def __init__(self, case: PeersInTurnsTests, name: int) -> None:
        super().__init__()
        self._case = case
        self._name = name

    @responder(Toil)
    def toil(self, number: int) -> dict[str, int]:
        self._case.clock.rightNow += MOMENT * 0.6
        self._case.done.append((self._name, number))
        return {"number": number}


class PeersInTurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Reactor()
        self.done: list[tuple[int, int]] = []
        self.names = iter(range(100))
        conversations = {"deploy": lambda peer, session: Toiler(self, next(self.names))}
        self.factory = ServerFactory(self.clock, terms(conversations=conversations))
        self.pumps: list[Any] = []

    def client(self) -> ClientPeer:
        server, client = self.factory.buildProtocol(None), ClientPeer(self.clock)
        assert server is not None
        self.pumps.append(connect(server, transport(server, True), client, transport(client, False)))
        dial = Dial(self.clock, None, "hub:6001", credentials())  # type: ignore[arg-type]
        greeting = Deferred.fromCoroutine(client.shake_hands(dial, lambda _: Conversation()))
        self.pumps[-1].flush()
        self.successResultOf(greeting)
        return client

    def ask(self, client: ClientPeer, count: int) -> list[Deferred[Any]]:
        """All of it arrives in one piece."""
        return [client.call(Toil, number=number) for number in range(count)]

    def turn(self) -> None:
        """Of the reactor."""
        self.clock.turn()
        for pump in self.pumps:
            pump.pump()

    def test_a_flood_is_answered_in_turns_in_its_order(self) -> None:
        answers = self.ask(self.client(), 9)
        for count in (2, 4, 6, 8, 9):
            self.turn()
            self.assertEqual(len(self.done), count)
        self.turn()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [{"number": n} for n in range(9)])

    def test_all_floods_share_a_turn_and_who_asks_little_waits_for_none_of_them(self) -> None:
        floods, other = [self.client() for _ in range(5)], self.client()
        for flood in floods:
            self.ask(flood, 6)
        self.turn()
        self.assertEqual(len(self.done), 10)
        (answer,) = self.ask(other, 1)
        self.turn()
        # One flood has gone on, and the other's question was among them.
        self.assertEqual((self.done.count((5, 0)), len(self.done)), (1, 13))
        self.pumps[-1].pump()
        self.successResultOf(answer)
        for _ in range(12):
            self.turn()
        self.assertEqual(len(self.done), 31)
        for name in range(5):
            self.assertEqual([number for who, number in self.done if who == name], list(range(6)))

    def test_nothing_is_read_from_who_waits_and_a_lost_link_forgets_it(self) -> None:
        answers = self.ask(self.client(), 9)
        self.turn()
        (server,) = self.factory.peers
        self.assertTrue(server.transport.paused)
        # Its answers are not read either: it goes on only when both are over.
        server.transport.producer.pauseProducing()
        self.turn()
        self.turn()
        self.assertEqual(len(self.done), 2)
        server.transport.producer.resumeProducing()
        self.turn()
        self.assertEqual(len(self.done), 6)
        server.drop("test")
        self.turn()
        self.turn()
        self.assertEqual((len(self.done), self.factory.peers), (6, set()))
        for answer in answers:
            answer.addErrback(lambda failure: failure.trap(Unreachable))


class Late:
    """Comes back as often as it is told to."""

    def __init__(self, turns: Turns, times: int) -> None:
        self.turns = turns
        self.times = times
        turns.wait(self)

    def go_on(self) -> None:
        self.times -= 1
        if self.times:
            self.turns.wait(self)


class TurnsTests(SynchronousTestCase):
    def test_those_who_come_back_wait_for_the_next_turn_of_the_reactor(self) -> None:
        clock = Reactor()
        turns = Turns(clock)
        late = [Late(turns, 3), Late(turns, 1)]
        for times in ([2, 0], [1, 0], [0, 0]):
            clock.turn()
            self.assertEqual([one.times for one in late], times)
        self.assertEqual((len(turns), clock.getDelayedCalls()), (0, []))

    def test_when_the_last_one_leaves_nothing_is_planned(self) -> None:
        clock = Clock()
        turns = Turns(clock)
        late = Late(turns, 1)
        turns.leave(late)
        turns.leave(late)
        self.assertEqual((len(turns), clock.getDelayedCalls()), (0, []))
