"""A router's sessions with the hub: it enters, follows, says where it stands, counts and leaves, over iosim."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import DeploydError, Malformed, NameInUse, Refused
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share, Tally
from deployd.model.router import Standing, TableItem
from deployd.net.client import Dial
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.router.counting import EVERY
from deployd.router.hub_link import Events, HubLink
from deployd.router.standing import CALM, SOON
from deployd.wire.routing import Count, Depart, Enter, Follow, Stand
from tests.net.links import credentials, terms
from tests.net.test_link import FakeEndpoint

KEY = RouteKey("shop.example")
ROUTE = TableItem(route=RouteLine(KEY, Setting("webapp", "http", (Share("v1", 1),))))


def at(number: int, epoch: str = "e") -> Revision:
    return Revision(epoch, number)


class FakeHub(Conversation):
    """One session of a hub; ``said`` is what the router said in it, in order."""

    def __init__(self, peer: Peer, name_in_use: bool) -> None:
        super().__init__()
        self.peer = peer
        self.said: list[tuple[str, Any]] = []
        self._name_in_use = name_in_use

    @responder(Enter)
    def enter(self, name: str) -> dict[str, Any]:
        if self._name_in_use:
            raise NameInUse("another router is called r1")
        self.said.append(("enter", name))
        return {"epoch": "e", "registry": "127.0.0.1:6000", "lease": 10.0}

    @responder(Stand)
    def stand(self, standing: Standing) -> dict[str, Any]:
        self.said.append(("stand", standing))
        return {}

    @responder(Count)
    def count(self, tallies: tuple[Tally, ...]) -> dict[str, Any]:
        self.said.append(("count", tallies))
        return {}

    @responder(Depart)
    def depart(self) -> dict[str, Any]:
        self.said.append(("depart", None))
        return {}

    def of(self, kind: str) -> list[Any]:
        return [what for said, what in self.said if said == kind]


class FakeRouter:
    """What follows: saves and follows when ``done`` is called."""

    def __init__(self) -> None:
        self.where = Standing(at(0, ""), at(0, ""))
        self.followed: list[tuple[Revision, int, tuple[TableItem, ...]]] = []
        self.pending: list[Deferred[None]] = []
        self.somebody_waits = False
        self.counted: list[tuple[int, Tally]] = []
        self.reading = 1

    def follow(self, revision: Revision, base: int, items: tuple[TableItem, ...]) -> Deferred[None]:
        self.followed.append((revision, base, items))
        done: Deferred[None] = Deferred()
        self.pending.append(done)
        return done

    def standing(self) -> Standing:
        return self.where

    def urgent(self) -> bool:
        return self.somebody_waits

    def tallies(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        number, self.reading = self.reading, self.reading + 1
        return number, tuple(tally for reading, tally in self.counted if reading > since)

    def count(self, requests: int) -> Tally:
        tally = Tally(KEY, "v1", requests)
        self.counted = [(self.reading, tally)]
        return tally


class HubLinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hubs: list[FakeHub] = []
        self.name_in_use = False
        self.endpoint = FakeEndpoint(self.clock, terms(conversations={"route": self.session}))
        self.router = FakeRouter()
        self.entered: list[str] = []
        self.refused: list[DeploydError] = []
        self.away = 0

    def session(self, peer: Peer, _: Any) -> FakeHub:
        self.hubs.append(FakeHub(peer, self.name_in_use))
        return self.hubs[-1]

    @property
    def hub(self) -> FakeHub:
        return self.hubs[-1]

    def start(self, secret: Secret | None = None, known: bool = False) -> HubLink:
        mine = credentials(secret, "route") if secret else credentials(purpose="route")
        dial = Dial(self.clock, self.endpoint, "hub:6001", mine)
        events = Events(self.entered.append, self.refused.append, self.hear_away)
        self.link = HubLink(dial, "r1", self.router, events, known)
        self.link.startService()
        self.addCleanup(self.stop)
        self.pass_time()
        return self.link

    def hear_away(self) -> None:
        self.away += 1

    def stop(self) -> None:
        stopped = self.link.stopService()
        self.endpoint.flush()
        self.successResultOf(stopped)
        # The hub hangs up on whom it refused.
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def pass_time(self, seconds: float = 0.0) -> None:
        self.endpoint.flush()
        self.clock.advance(seconds)
        self.endpoint.flush()

    def tell(self, number: int, base: int = 0, part: int = 0, parts: int = 1, *items: TableItem) -> Deferred[Any]:
        told = self.hub.peer.call(
            Follow, revision=at(number), base=base, part=part, parts=parts, items=items or (ROUTE,)
        )
        self.endpoint.flush()
        return told

    def follow(self, number: int, base: int = 0) -> None:
        told = self.tell(number, base)
        self.router.where = Standing(at(number), self.router.where.registry)
        self.router.pending[-1].callback(None)
        self.endpoint.flush()
        self.successResultOf(told)
        self.link.changed()

    def test_enters_and_says_at_once_where_it_stands(self) -> None:
        """A restored hub sees by this that somebody is ahead of it."""
        self.router.where = Standing(at(7), at(3))
        self.start()
        self.assertEqual(self.hub.said, [("enter", "r1")])
        self.assertEqual(self.entered, ["127.0.0.1:6000"])
        self.assertTrue(self.link.connected)
        self.pass_time(SOON)
        self.assertEqual(self.hub.of("stand"), [self.router.where])

    def test_answers_once_the_table_is_followed_and_saved(self) -> None:
        self.start()
        told = self.tell(5)
        self.assertEqual(self.router.followed, [(at(5), 0, (ROUTE,))])
        self.assertNoResult(told)
        self.router.pending[0].callback(None)
        self.endpoint.flush()
        self.assertEqual(self.successResultOf(told), {})

    def test_acts_on_nothing_before_the_last_part(self) -> None:
        self.start()
        self.successResultOf(self.tell(5, 0, 0, 2))
        self.assertEqual(self.router.followed, [])
        self.tell(5, 0, 1, 2)
        self.assertEqual(self.router.followed, [(at(5), 0, (ROUTE, ROUTE))])
        self.router.pending[0].callback(None)

    def test_takes_a_change_only_of_what_it_has_acknowledged_in_this_session(self) -> None:
        self.start()
        self.failureResultOf(self.tell(6, base=5), Malformed)
        self.follow(5)
        self.follow(6, base=5)
        self.failureResultOf(self.tell(8, base=7), Malformed)
        self.assertEqual([(revision.number, base) for revision, base, _ in self.router.followed], [(5, 0), (6, 5)])

    def test_takes_one_update_at_a_time(self) -> None:
        self.start()
        first = self.tell(5)
        self.failureResultOf(self.tell(6), Malformed)
        self.router.pending[0].callback(None)
        self.endpoint.flush()
        self.successResultOf(first)

    def test_what_could_not_be_saved_is_not_acknowledged(self) -> None:
        self.start()
        told = self.tell(5)
        self.router.pending[0].errback(Refused("cannot save the routes: the disk is full"))
        self.endpoint.flush()
        self.assertIn("the disk is full", str(self.failureResultOf(told, Refused).value))
        self.failureResultOf(self.tell(6, base=5), Malformed)

    def test_says_where_it_stands_soon_when_the_table_changed_or_somebody_waits(self) -> None:
        self.start()
        self.follow(5)
        self.pass_time(SOON)
        self.assertEqual(self.hub.of("stand")[-1], self.router.where)
        self.router.somebody_waits = True
        self.router.where = Standing(at(5), at(3))
        self.link.changed()
        self.pass_time(SOON)
        self.assertEqual(self.hub.of("stand")[-1], self.router.where)

    def test_else_once_a_second_and_only_the_newest(self) -> None:
        self.start()
        self.follow(5)
        self.pass_time(SOON)
        before = len(self.hub.of("stand"))
        for number in range(10):
            self.router.where = Standing(at(5), at(number + 10))
            self.link.changed()
            self.pass_time(SOON)
        self.assertEqual(len(self.hub.of("stand")), before)
        self.pass_time(CALM)
        self.assertEqual(self.hub.of("stand")[before:], [self.router.where])

    def test_somebody_who_begins_to_wait_need_not_wait_a_second(self) -> None:
        self.start()
        self.follow(5)
        self.pass_time(SOON)
        self.router.where = Standing(at(5), at(3))
        self.link.changed()
        self.router.somebody_waits = True
        self.link.changed()
        self.pass_time(SOON)
        self.assertEqual(self.hub.of("stand")[-1], self.router.where)

    def test_nothing_new_is_not_said(self) -> None:
        self.start()
        self.follow(5)
        self.pass_time(SOON)
        before = len(self.hub.of("stand"))
        self.link.changed()
        self.pass_time(CALM)
        self.assertEqual(len(self.hub.of("stand")), before)

    def test_a_new_session_hears_everything_again(self) -> None:
        self.start()
        self.follow(5)
        self.router.count(3)
        self.pass_time(EVERY)
        self.hub.peer.drop("test")
        self.pass_time(1.0)
        self.assertEqual(len(self.hubs), 2)
        self.pass_time(EVERY)
        self.assertEqual(self.hub.of("stand"), [self.router.where])
        self.assertEqual(self.hub.of("count"), [(Tally(KEY, "v1", 3),)])
        self.failureResultOf(self.tell(6, base=5), Malformed)

    def test_counts_what_has_changed(self) -> None:
        self.start()
        self.pass_time(EVERY)
        self.assertEqual(self.hub.of("count"), [])
        first = self.router.count(3)
        self.pass_time(EVERY)
        self.pass_time(EVERY)
        second = self.router.count(4)
        self.pass_time(EVERY)
        self.assertEqual(self.hub.of("count"), [(first,), (second,)])

    def test_leaves_with_its_last_tallies_and_then_says_nothing(self) -> None:
        self.start()
        last = self.router.count(3)
        leaving = Deferred.fromCoroutine(self.link.depart())
        self.endpoint.flush()
        self.successResultOf(leaving)
        self.assertEqual(self.hub.said[-2:], [("count", (last,)), ("depart", None)])
        self.link.changed()
        self.pass_time(EVERY)
        self.assertEqual(self.hub.said[-1], ("depart", None))

    def test_leaving_a_hub_that_is_away_takes_no_time(self) -> None:
        self.endpoint.up = False
        self.start()
        self.successResultOf(Deferred.fromCoroutine(self.link.depart()))

    def test_a_refused_secret_ends_a_router_that_nobody_knows(self) -> None:
        self.start(Secret("wrong"))
        self.assertEqual(len(self.refused), 1)

    def test_a_name_in_use_ends_it_too(self) -> None:
        self.name_in_use = True
        self.start()
        self.assertIn("another router is called r1", str(self.refused[0]))

    def test_one_that_has_a_table_tries_on(self) -> None:
        self.start(Secret("wrong"), known=True)
        self.pass_time(1.0)
        self.assertEqual(self.refused, [])
        self.assertGreaterEqual(self.away, 2)

    def test_one_that_was_accepted_tries_on(self) -> None:
        self.start()
        self.name_in_use = True
        self.hub.peer.drop("test")
        self.pass_time(1.0)
        self.assertEqual(self.refused, [])
        self.assertFalse(self.link.connected)

    def test_hears_of_a_hub_that_is_away(self) -> None:
        self.endpoint.up = False
        self.start()
        self.assertEqual((self.away, self.refused), (1, []))
