"""Publications that come in parts, and those that never end."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Malformed, Refused
from deployd.net.identity import Identity
from deployd.registry.limits import Limits
from deployd.registry.publication import Publication, Publications
from deployd.wire.registry import Publish
from tests.registry.rows import row
from tests.registry.test_sessions import SessionCase

LIMITS = Limits(rows_per_owner=5, rows_under_way=6, meta_under_way=300)


class PublicationsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.all = Publications(LIMITS)
        self.first, self.second, self.third = (Publication(self.all) for _ in range(3))

    def held(self) -> tuple[int, int, int]:
        return len(self.all), self.all.rows, self.all.meta

    def test_what_has_ended_takes_no_room(self) -> None:
        self.assertIsNone(self.first.add(0, 2, [row("a"), row("b")]))
        self.assertEqual(self.held()[:2], (1, 2))
        self.assertEqual(len(self.first.add(1, 2, [row("c")]) or ()), 3)
        self.first.add(0, 2, [row("a")])
        self.first.add(0, 2, [row("a")])
        self.assertEqual(self.held()[:2], (1, 1))
        self.first.drop()
        self.first.drop()
        self.assertEqual(self.held(), (0, 0, 0))

    def test_more_than_an_owner_may_have_is_refused_and_kept_no_longer(self) -> None:
        self.first.add(0, 3, [row("a"), row("b"), row("c")])
        with self.assertRaises(Refused):
            self.first.add(1, 3, [row("d"), row("e"), row("f")])
        self.assertEqual(self.held(), (0, 0, 0))

    def test_whose_last_part_came_longest_ago_makes_room(self) -> None:
        for one in (self.first, self.second):
            one.add(0, 3, [row("a"), row("b")])
        self.first.add(1, 3, [row("c")])
        self.third.add(0, 2, [row("a"), row("b")])
        with self.assertRaises(Malformed):
            self.second.add(1, 3, [row("c")])
        self.assertEqual(len(self.first.add(2, 3, []) or ()), 3)
        self.assertEqual(len(self.third.add(1, 2, []) or ()), 2)
        self.assertEqual(self.held(), (0, 0, 0))

    def test_metadata_counts_too_and_one_alone_always_goes_on(self) -> None:
        large = {"k": "v" * 200}
        self.first.add(0, 2, [row("a", meta=large)])
        self.second.add(0, 2, [row("b", meta=large)])
        self.assertEqual(self.held()[0], 1)
        self.second.add(1, 3, [row("c", meta=large)])
        self.assertEqual(len(self.second.add(2, 3, []) or ()), 2)


class SessionTests(SessionCase):
    def test_a_session_that_ends_keeps_nothing(self) -> None:
        peer = self.owner(Identity.create())
        self.network.answer(peer.call(Publish, part=0, parts=2, rows=(row("a"),)))
        publications = self.network.registry.publications
        self.assertEqual(publications.rows, 1)
        peer.transport.loseConnection()
        self.network.flush()
        self.assertEqual((len(publications), publications.rows), (0, 0))
