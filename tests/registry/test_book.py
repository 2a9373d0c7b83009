"""Who owns which rows, and what they may do to them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import NotOwner, PermissionRefused, Refused, Superseded, UsageError
from deployd.model.invalid import Invalid
from deployd.registry.filter import RowFilter
from deployd.registry.limits import Limits
from deployd.registry.owner import Seat
from tests.registry.rows import ALL, COMMIT, OTHER, empty_book, freed, put, row, rows_of


class BookCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.book = empty_book(Limits(rows_per_owner=5, rows=8, owners=4))

    def attach(self, owner: str = "alice", now: float = 0.0, accepted: bool = True, host: str = "10.0.0.1") -> Seat:
        return self.book.attach(owner, f"{owner}'s", host, accepted, now)

    def ids(self, wanted: RowFilter = ALL) -> list[str]:
        return [found.id for found in rows_of(self.book, wanted)]


class OwnershipTests(BookCase):
    def test_the_registry_fills_in_who_and_where(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row(host="6.6.6.6", owner="mallory", drone="other", revision=99)])
        (found,) = rows_of(self.book)
        self.assertEqual((found.host, found.owner, found.drone, found.revision), ("10.0.0.1", "alice", "alice's", 1))

    def test_publishing_replaces_all_that_the_owner_had(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("a"), row("b")])
        change = self.book.publish(seat, [row("b"), row("c")])
        self.assertEqual(self.ids(), ["b", "c"])
        self.assertEqual((put(change), freed(change)), (["c"], ["a"]))

    def test_no_other_owner_frees_or_overwrites_a_row(self) -> None:
        self.book.publish(self.attach(), [row("w1")])
        stranger = self.attach("mallory", host="6.6.6.6")
        before = rows_of(self.book)
        with self.assertRaises(NotOwner):
            self.book.publish(stranger, [row("m1"), row("w1")])
        self.book.publish(stranger, [])
        with self.assertRaises(NotOwner):
            self.book.update(stranger, [row("w1")], [])
        with self.assertRaises(NotOwner):
            self.book.update(stranger, [row("m1")], ["w1"])
        self.assertEqual(rows_of(self.book), before)

    def test_not_even_while_the_owner_is_away(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("w1")])
        self.book.owners.lose(seat, 10.0)
        stranger = self.attach("mallory")
        with self.assertRaises(NotOwner):
            self.book.publish(stranger, [row("w1")])

    def test_rows_of_a_commit_need_the_hub_to_vouch_for_the_owner(self) -> None:
        seat = self.attach(accepted=False)
        with self.assertRaises(PermissionRefused):
            self.book.publish(seat, [row()])
        self.book.publish(seat, [row(namespace="mine")])
        with self.assertRaises(PermissionRefused):
            self.book.update(seat, [row("b")], [])
        self.assertEqual([found.namespace for found in rows_of(self.book)], ["mine"])

    def test_a_row_may_move_to_another_namespace(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("a", namespace=COMMIT)])
        self.book.update(seat, [row("a", namespace=OTHER)], [])
        self.assertEqual(self.ids(RowFilter(COMMIT)), [])
        self.assertEqual(self.ids(RowFilter(OTHER)), ["a"])


class UpdateTests(BookCase):
    def setUp(self) -> None:
        super().setUp()
        self.seat = self.attach()

    def test_comes_after_a_publication(self) -> None:
        with self.assertRaises(Refused):
            self.book.update(self.seat, [row()], [])

    def test_puts_and_frees_together(self) -> None:
        self.book.publish(self.seat, [row("a"), row("b")])
        change = self.book.update(self.seat, [row("c")], ["a", "nobody's"])
        self.assertEqual(self.ids(), ["b", "c"])
        self.assertEqual(change.revision.number, 4)

    def test_one_wrong_row_and_nothing_is_done(self) -> None:
        self.book.publish(self.seat, [row("a")])
        for wrong in (row("x", port=0), row("x", port=65536), row("../x"), row("x", role=""), row("x", namespace="")):
            with self.assertRaises(Invalid):
                self.book.update(self.seat, [row("b"), wrong], ["a"])
        for twice in ([row("b"), row("b", 2)], [row("a")]):
            with self.assertRaises(UsageError):
                self.book.update(self.seat, twice, ["a"])
        self.assertEqual((self.ids(), self.book.revision.number), (["a"], 1))

    def test_metadata_is_bounded(self) -> None:
        self.book.publish(self.seat, [row("a", meta={"k": "v" * 4000})])
        for meta in ({"k": "v" * 5000}, {str(n): "" for n in range(1000)}, {"k": "\udcff" * 1000}):
            with self.assertRaises(Invalid):
                self.book.update(self.seat, [row("b", meta=meta)], [])

    def test_metadata_is_the_same_if_it_is_the_same_json(self) -> None:
        self.book.publish(self.seat, [row("a", meta={"n": 1, "deep": [{"n": 1}]})])
        for meta, changes in (
            ({"n": 1, "deep": [{"n": 1}]}, 0),
            ({"n": True, "deep": [{"n": 1}]}, 1),
            ({"n": True, "deep": [{"n": True}]}, 1),
            ({"n": 1.0, "deep": [{"n": True}]}, 1),
            ({}, 1),
            ({}, 0),
        ):
            self.assertEqual(len(self.book.update(self.seat, [row("a", meta=meta)], []).changes), changes, meta)
            self.assertEqual(self.book.owners.meta, self.book._meta)

    def test_the_revision_grows_with_every_change_and_only_then(self) -> None:
        self.book.publish(self.seat, [row("a"), row("b")])
        self.assertEqual(self.book.revision.number, 2)
        self.book.publish(self.seat, [row("b"), row("a")])
        self.book.update(self.seat, [row("a")], ["c"])
        self.assertEqual(self.book.revision.number, 2)
        self.book.update(self.seat, [row("a", port=9)], [])
        self.assertEqual([(found.id, found.revision) for found in rows_of(self.book)], [("a", 3), ("b", 2)])


class QuotaTests(BookCase):
    def test_an_owner_has_so_many_rows_and_no_more(self) -> None:
        seat = self.attach()
        with self.assertRaises(Refused):
            self.book.publish(seat, [row(str(number)) for number in range(6)])
        self.book.publish(seat, [row(str(number)) for number in range(5)])
        with self.assertRaises(Refused):
            self.book.update(seat, [row("5")], [])
        self.book.update(seat, [row("5")], ["0"])
        self.assertEqual(self.ids(), ["1", "2", "3", "4", "5"])

    def test_one_owner_cannot_fill_up_the_registry(self) -> None:
        self.book.publish(self.attach("alice"), [row(f"a{number}") for number in range(5)])
        seat = self.attach("bob")
        with self.assertRaises(Refused):
            self.book.publish(seat, [row(f"b{number}") for number in range(4)])
        self.book.publish(seat, [row(f"b{number}") for number in range(3)])
        self.assertEqual(len(self.book), 8)

    def test_metadata_is_bounded_for_each_owner_and_for_all(self) -> None:
        self.book = empty_book(Limits(meta_per_owner=100, meta=150))
        seat, other = self.attach("alice"), self.attach("bob")
        some = {"k": "v" * 80}
        with self.assertRaises(Refused):
            self.book.publish(seat, [row("a", meta=some), row("b", meta=some)])
        self.book.publish(seat, [row("a", meta=some), row("b")])
        with self.assertRaises(Refused):
            self.book.update(seat, [row("b", meta=some)], [])
        self.book.update(seat, [row("b", meta=some)], ["a"])
        with self.assertRaises(Refused):
            self.book.publish(other, [row("c", meta=some)])
        self.book.update(seat, [row("b")], [])
        self.book.publish(other, [row("c", meta=some)])
        self.book.leave(other)
        self.assertEqual((self.book.owners.meta, self.book._meta), (0, 0))

    def test_one_update_changes_so_many_rows_and_no_more(self) -> None:
        self.book = empty_book(Limits(changes_per_update=3))
        seat = self.attach()
        self.book.publish(seat, [])
        with self.assertRaises(Refused):
            self.book.update(seat, [row("a"), row("b")], ["c", "d"])
        self.book.update(seat, [row("a"), row("b")], ["c"])

    def test_owners_are_bounded_and_those_without_rows_are_forgotten_when_they_go(self) -> None:
        seats = [self.attach(name) for name in "abcd"]
        with self.assertRaises(Refused):
            self.attach("e")
        self.book.owners.lose(seats[0], 0.0)
        self.attach("e")


class SessionTests(BookCase):
    def test_a_newer_session_of_the_owner_supersedes_the_earlier_one(self) -> None:
        old = self.attach()
        self.book.publish(old, [row("a")])
        new = self.attach(host="10.0.0.2")
        for attempt in (
            lambda: self.book.publish(old, []),
            lambda: self.book.update(old, [], ["a"]),
            lambda: self.book.leave(old),
            lambda: self.book.owners.heard(old, 0.0),
        ):
            with self.assertRaises(Superseded):
                attempt()
        self.assertEqual(self.ids(), ["a"])
        self.book.publish(new, [row("a")])
        self.assertEqual([found.host for found in rows_of(self.book)], ["10.0.0.2"])

    def test_the_end_of_a_superseded_session_marks_nothing(self) -> None:
        old = self.attach()
        self.book.publish(old, [row("a")])
        new = self.attach()
        self.book.publish(new, [row("a")])
        self.assertFalse(self.book.owners.lose(old, 5.0))
        self.assertIsNone(self.book.owners.next_fall(45))

    def test_a_lost_link_marks_at_once_and_frees_after_the_timeout(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("a")])
        (found,) = rows_of(self.book)
        self.assertFalse(self.book.is_marked(found))
        self.book.owners.lose(seat, 100.0)
        self.assertTrue(self.book.is_marked(found))
        self.assertEqual(self.book.owners.next_fall(45), 145.0)
        self.assertEqual(freed(self.book.expire(144.9, 45)), [])
        self.assertEqual(freed(self.book.expire(145.0, 45)), ["a"])
        self.assertEqual(self.book.revision.number, 2)
        with self.assertRaises(Superseded):
            self.book.publish(seat, [])

    def test_the_same_owner_in_time_keeps_its_rows_without_a_gap(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("a")])
        self.book.owners.lose(seat, 100.0)
        again = self.attach(now=144.0)
        self.assertEqual(self.ids(), ["a"])
        self.book.expire(150.0, 45)
        self.assertEqual(self.ids(), ["a"])
        change = self.book.publish(again, [row("a")])
        self.assertEqual(change.changes, ())
        (found,) = rows_of(self.book)
        self.assertFalse(self.book.is_marked(found))

    def test_a_session_that_never_publishes_keeps_nothing_alive(self) -> None:
        """Its publication after that is as good as any."""
        seat = self.attach()
        self.book.publish(seat, [row("a")])
        again = self.attach(now=100.0)
        self.book.owners.heard(again, 120.0)
        self.assertEqual(freed(self.book.expire(164.0, 45)), [])
        self.assertEqual(freed(self.book.expire(165.0, 45)), ["a"])
        self.book.publish(again, [row("a")])
        self.assertEqual(self.ids(), ["a"])

    def test_an_idle_session_without_rows_is_nobody_who_could_fall(self) -> None:
        seat = self.attach()
        self.book.expire(1e6, 45)
        self.book.publish(seat, [row("a")])

    def test_goodbye_frees_at_once(self) -> None:
        seat = self.attach()
        self.book.publish(seat, [row("a")])
        other = self.attach("bob")
        self.book.publish(other, [row("b")])
        self.assertEqual(freed(self.book.leave(seat)), ["a"])
        self.assertEqual(self.ids(), ["b"])
        self.assertFalse(self.book.owners.lose(seat, 1.0))


class ReadingTests(BookCase):
    def setUp(self) -> None:
        super().setUp()
        self.book = empty_book()
        rows = [
            row("a", role="http"),
            row("b", role="say"),
            row("c", role="http", namespace=OTHER, release="v2"),
            row("d", role="http", namespace="7433", app="", release=""),
            row("e", role="say", app="team/webapp", version="1.2.3"),
        ]
        self.book.publish(self.attach(), rows)

    def test_by_every_part(self) -> None:
        for wanted, ids in {
            RowFilter(): "abcde",
            RowFilter(COMMIT): "abe",
            RowFilter(role="say"): "be",
            RowFilter(COMMIT, "webapp", "v1", "say"): "b",
            RowFilter(app="team/webapp"): "e",
            RowFilter(release="v2"): "c",
            RowFilter(versions="1.2.3"): "e",
            RowFilter(OTHER, release="v1"): "",
            RowFilter("f" * 40): "",
        }.items():
            self.assertEqual("".join(self.ids(wanted)), ids, wanted)

    def test_a_commit_by_its_prefix_and_nothing_else(self) -> None:
        """A namespace that only looks like the beginning of a commit is found by its own name alone."""
        self.assertEqual("".join(self.ids(RowFilter(COMMIT[:7]))), "abe")
        self.assertEqual("".join(self.ids(RowFilter("7433"))), "abde")
        self.assertEqual("".join(self.ids(RowFilter("743"))), "")
        self.assertEqual("".join(self.ids(RowFilter(COMMIT[:7].upper()))), "")
