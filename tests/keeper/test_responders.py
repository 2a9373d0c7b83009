"""The keeper's conversation: who may say what, and who is told."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import InternalError, Refused
from deployd.keeper.responders import MAX_CONNECTIONS, Sessions
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.wire.keeping import VERSION, Exited, Forget, Held, ListHeld, Meet, Quit, Remark, Start, Unlisten
from tests.keeper.house import KeeperHouse, descriptors, launch


class News(Conversation):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Held] = []

    @responder(Exited)
    def exited(self, held: Held) -> dict[str, Any]:
        self.heard.append(held)
        return {}


class Drone:
    """A connection to the keeper."""

    def __init__(self, house: KeeperHouse, sessions: Sessions) -> None:
        self.clock = house.clock
        self.peer = Peer(self.clock)
        self.news = News()
        self.server = sessions.buildProtocol(None)
        assert self.server is not None
        transports = FakeTransport(self.server, True), FakeTransport(self.peer, False)
        self.pump: IOPump = connect(self.server, transports[0], self.peer, transports[1], greet=False)
        self.peer.established(self.news, 15, 60)

    def call(self, command: Any, **arguments: Any) -> Deferred[Any]:
        answer = self.peer.call(command, **arguments)
        self.flush()
        return answer

    def meet(self) -> Drone:
        self.call(Meet, version=VERSION)
        return self

    def flush(self) -> None:
        for _ in range(3):
            self.pump.flush()
            self.clock.advance(0)


class ConversationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = KeeperHouse()
        self.sessions = Sessions(self.house.clock, self.house.keeper)

    def drone(self) -> Drone:
        return Drone(self.house, self.sessions)

    def test_the_keeper_says_who_it_is(self) -> None:
        answer = self.successResultOf(self.drone().call(Meet, version=VERSION))
        self.assertEqual(answer, {"version": VERSION, "pid": os.getpid()})

    def test_a_drone_of_another_version_is_met_too(self) -> None:
        drone = self.drone()
        self.successResultOf(drone.call(Meet, version=VERSION + 7))
        self.successResultOf(drone.call(Start, launch=launch()))

    def test_before_it_was_met_nothing_is_done(self) -> None:
        drone = self.drone()
        orders: list[tuple[Any, dict[str, Any]]] = [
            (Start, {"launch": launch()}),
            (ListHeld, {"after": ""}),
            (Forget, {"id": "a"}),
            (Unlisten, {"id": "a"}),
            (Remark, {"log": "a", "words": "b"}),
            (Quit, {}),
        ]
        for command, arguments in orders:
            self.failureResultOf(drone.call(command, **arguments), Refused)
        self.assertEqual(self.house.spawner.started, [])

    def test_ends_are_told_to_the_drone_that_was_met_last(self) -> None:
        first = self.drone().meet()
        first.call(Start, launch=launch())
        second = self.drone().meet()
        self.house.spawner.end(code=3)
        self.house.wait(1)
        second.flush()
        self.assertEqual([held.code for held in second.news.heard], [3])
        first.flush()
        self.assertEqual(first.news.heard, [])
        self.assertTrue(first.server and first.server.is_closed)

    def test_an_end_that_nobody_hears_is_in_the_list(self) -> None:
        first = self.drone().meet()
        first.call(Start, launch=launch())
        first.peer.transport.abortConnection()
        first.flush()
        self.house.spawner.end(code=3)
        self.house.wait(1)
        answer = self.successResultOf(self.drone().meet().call(ListHeld, after=""))
        self.assertEqual([(held.id, held.code) for held in answer["held"]], [("http-1", 3)])

    def test_nonsense_costs_a_connection_and_nothing_else(self) -> None:
        drone = self.drone().meet()
        drone.peer.transport.write(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 1000)
        drone.flush()
        self.assertTrue(drone.peer.is_closed)
        self.successResultOf(self.drone().call(Meet, version=VERSION))

    def test_what_fails_inside_is_told_as_such_and_the_link_stays(self) -> None:
        drone = self.drone().meet()
        self.house.spawner.open_fds = None  # type: ignore[assignment]
        self.failureResultOf(drone.call(Start, launch=launch()), InternalError)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.successResultOf(drone.call(ListHeld, after=""))

    def test_connections_are_bounded(self) -> None:
        for _ in range(MAX_CONNECTIONS):
            self.drone()
        self.assertIsNone(self.sessions.buildProtocol(None))

    def test_descriptors_that_nobody_claims_are_closed_with_the_connection(self) -> None:
        before = descriptors()
        drone = self.drone()
        ours, theirs = os.pipe()
        os.set_inheritable(theirs, True)
        assert drone.server is not None
        for fd in (ours, theirs):
            drone.server.fileDescriptorReceived(fd)
        self.assertFalse(os.get_inheritable(theirs))
        drone.peer.transport.abortConnection()
        drone.flush()
        self.assertEqual(descriptors(), before)

    def test_quit_ends_the_keeper_once_the_drone_has_its_answer(self) -> None:
        drone = self.drone().meet()
        self.successResultOf(drone.call(Quit))
        self.assertEqual(self.house.finished, 0)
        self.house.wait(1)
        self.assertEqual(self.house.finished, 1)
