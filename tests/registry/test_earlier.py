"""Routers of an earlier deployd follow the table with Watch."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.revision import Revision
from deployd.net.peer import Peer
from deployd.registry.earlier import Place
from deployd.registry.filter import RowFilter
from deployd.registry.history import Page
from deployd.registry.position import Position
from deployd.wire.lookup import Watch
from tests.registry.rows import row
from tests.registry.test_history import Known, Operation, World, operations, pages
from tests.registry.test_sessions import SessionCase


class EarlierRouter:
    """As deployd.client.watching was: what is not complete is held back until the revision grows."""

    def __init__(self) -> None:
        self.rows: Known = {}
        self.position = ""
        self.revision: Revision | None = None
        self._held: dict[str, tuple[str, int, int] | None] = {}

    def step(self, world: World) -> bool:
        place = Place.parse(self.position)
        answer = place.answer(world.history.after(place.position, RowFilter()), world.history.revision)
        asked, self.position = self.position, answer["position"]
        if answer["reset"]:
            assert not answer["changes"]
            self.rows, self.revision, self._held = world.table(), answer["revision"], {}
            return True
        assert self.revision is not None
        assert answer["revision"].reached(self.revision), "revisions go on"
        for change in answer["changes"]:
            if "delete" in change:
                self._held[change["delete"]] = None
            else:
                found = change["put"]
                self._held[found["id"]] = (found["role"], found["port"], found["revision"])
        if answer["revision"] != self.revision:
            for name, value in self._held.items():
                if value is None:
                    self.rows.pop(name, None)
                else:
                    self.rows[name] = value
            self.revision, self._held = answer["revision"], {}
        return self.position != asked


class EarlierRouterTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(operations("renew", "restart", "step", "step"), max_size=40), st.sampled_from([3, 1000]), pages)
    def test_it_has_the_table_of_the_revision_that_it_was_told(
        self, done: list[Operation], max_changes: int, page_bytes: int
    ) -> None:
        world, router = World(max_changes=max_changes, page_bytes=page_bytes), EarlierRouter()
        for what, owner, ports in done:
            if what == "step":
                router.step(world)
                assert router.revision is not None
                self.assertEqual(router.rows, world.tables[router.revision])
            else:
                world.do(what, owner, ports)
        while router.step(world):
            pass
        self.assertEqual((router.rows, router.revision), (world.table(), world.book.revision))

    def test_a_page_ends_where_a_revision_does(self) -> None:
        """What belongs with the next page comes with that, as such routers take each answer for whole."""
        put = {"type": "put", "row": {"id": "a"}}
        lines = ({**put, "revision": 1}, {**put, "revision": 2, "more": True})
        page = Page(Position("e", 2), lines, whole=False)
        answer = Place.parse("e.0").answer(page, Revision("e", 3))
        self.assertEqual(answer["changes"], [{"put": {"id": "a"}}])
        self.assertEqual((answer["position"], answer["revision"]), ("e.1", Revision("e", 1)))

    def test_positions_that_nobody_gave_are_answered_with_a_reset(self) -> None:
        history = World().history
        for text in ("", "x", "an-epoch-1.1", "an-epoch-2.0", "an-epoch-1.0+x", "an-epoch-1.0-s0", "+1", "++"):
            place = Place.parse(text)
            answer = place.answer(history.after(place.position, RowFilter()), history.revision)
            self.assertEqual((answer["reset"], answer["position"]), (True, "an-epoch-1.0"), text)


class WatchTests(SessionCase):
    def watch(self, peer: Peer, position: str = "", wait: float = 30.0) -> Deferred[Any]:
        called = peer.call(Watch, timeout=100.0, position=position, wait=wait)
        self.network.flush()
        return called

    def test_changes_come_as_they_came_before(self) -> None:
        owner = self.owner()
        peer = self.network.session("read", secret=None)
        first = self.successResultOf(self.watch(peer))
        self.assertEqual((first["reset"], first["changes"]), (True, []))
        watching = self.watch(peer, first["position"])
        self.assertNoResult(watching)
        revision = self.publish(owner, row("a"), row("b"))
        page = self.successResultOf(watching)
        self.assertEqual([change["put"]["id"] for change in page["changes"]], ["a", "b"])
        self.assertEqual((page["reset"], page["revision"]), (False, revision))
        self.update(owner, free=("a",))
        page = self.successResultOf(self.watch(peer, page["position"]))
        self.assertEqual(page["changes"], [{"delete": "a"}])
