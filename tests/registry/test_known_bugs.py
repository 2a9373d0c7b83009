"""Bugs that other registries had, by the names of their threads, and what this one does in their place.

``owner/repo#N`` is the thread that tells of it. The registry here is the whole one on its SQLite store; a life of it
ends with a kill, and the next one reads what is on the disk.
"""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.client.watching import RowWatcher
from deployd.errors import Busy, NotOwner, Refused, Superseded, UsageError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.identity import Identity
from deployd.net.secret import Secret, drone_credential
from deployd.registry.book import Transaction
from deployd.registry.filter import Near, RowFilter
from deployd.registry.history import Page
from deployd.registry.owner import Seat
from deployd.registry.position import Position
from deployd.registry.service import Registry
from deployd.storage.registry_file import TableFile
from deployd.wire.registry import Attach, Publish, Update
from tests.client.network import Network
from tests.registry.held_store import HeldStore
from tests.registry.rows import COMMIT, OTHER, ordered, row
from tests.registry.test_sessions import SessionCase
from tests.storage.registry_stores import QuickFile, inline_store

SECRET = Secret("beep boop")
TIMEOUT = 45.0
ANY = RowFilter()
MAX_CHANGES = 20


class BugCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.files: list[TableFile] = []
        self.addCleanup(self.close_all)
        self.hung_up: list[str] = []
        self.live()

    def close_all(self) -> None:
        for file in self.files:
            file.close()

    def live(self) -> None:
        """A life of the registry on what is on the disk; an earlier one was killed, and its file is still open."""
        self.clock = Clock()
        self.files.append(QuickFile(self.path, max_changes=MAX_CHANGES))
        self.store = HeldStore(inline_store(self.files[-1]), lambda: None, lambda changes: None)
        self.store.is_quick = True
        self.registry = Registry(self.clock, self.store, SECRET, TIMEOUT)
        self.successResultOf(self.registry.open())
        self.registry._history._max_changes = MAX_CHANGES
        self.registry.startService()

    def attach(self, owner: str = "alice", host: str = "10.0.0.1") -> Seat:
        proof = drone_credential(SECRET, owner)
        return self.registry.attach(owner, owner, proof, "", host, lambda: self.hung_up.append(owner))

    def owner(self, owner: str, *rows: Registration, host: str = "10.0.0.1") -> Seat:
        """A session that stands for these rows."""
        seat = self.attach(owner, host)
        self.done(self.registry.publish(seat, rows))
        return seat

    def done(self, waiting: Deferred[Transaction]) -> Transaction:
        done: Transaction = self.successResultOf(waiting)
        return done

    def update(self, seat: Seat, put: list[Registration] | None = None, free: list[str] | None = None) -> Revision:
        return self.done(self.registry.update(seat, put or [], free or [])).revision

    def table(self) -> dict[str, int]:
        return {found.id: found.port for found in self.registry.rows(ANY)}

    def marked(self) -> list[str]:
        return [found.id for found in ordered(self.registry.rows(ANY)) if self.registry.is_marked(found)]

    def page(self, position: str = "", wanted: RowFilter = ANY) -> Page:
        following = self.registry.follow(Position.parse(position), wanted, 0.0, object(), "")
        page: Page = self.successResultOf(Deferred.fromCoroutine(following))
        return page


class Follower:
    """Holds the table as the lines tell it; ``lines`` are all that it was told, by type, revision and id."""

    def __init__(self, case: BugCase, wanted: RowFilter = ANY, position: str = "") -> None:
        self._case = case
        self._wanted = wanted
        self.position = position
        self.table: dict[str, int] = {}
        self.lines: list[tuple[str, int, str]] = []

    def read(self) -> bool:
        """One page; whether there was anything."""
        page = self._case.page(self.position, self._wanted)
        self.position = str(page.position)
        for line in page.lines:
            row = line["row"] or {"id": ""}
            self.lines.append((line["type"], line["revision"], row["id"]))
            if line["type"] == "reset":
                self.table.clear()
            elif line["type"] == "put":
                self.table[row["id"]] = row["port"]
            else:
                self.table.pop(row["id"], None)
        return bool(page.lines) or not page.whole

    def catch_up(self) -> None:
        while self.read():
            pass

    @property
    def revisions(self) -> list[int]:
        return [revision for _, revision, _ in self.lines]


class EtcdTests(BugCase):
    """The "track record" of etcd's robustness tests."""

    def test_14370_no_acknowledged_write_is_lost_in_a_crash(self) -> None:
        """etcd-io/etcd#14370: a write that was acknowledged before it was on the disk was lost.

        Killed before the disk has it, the write was not acknowledged; killed after, it is there, heard of or not.
        """
        acknowledged = 0
        for number, moment in enumerate(("before", "after", "acknowledged") * 3):
            seat = self.owner("alice", *[row(f"r{n}") for n in self.numbers()])
            self.store.is_quick = False
            writing = self.registry.update(seat, [row(f"r{number}")], [])
            if moment == "after":
                self.store.store()
            elif moment == "acknowledged":
                self.store.let_through()
                acknowledged = self.done(writing).revision.number
            if moment != "acknowledged":
                self.assertNoResult(writing)
            before = self.numbers()
            self.live()
            self.assertEqual(number in self.numbers(), moment != "before")
            self.assertLessEqual(before, self.numbers())
            self.assertGreaterEqual(self.registry.revision.number, acknowledged)

    def numbers(self) -> set[int]:
        return {int(row_id[1:]) for row_id in self.table()}

    def test_14370_what_waited_for_the_same_disk_is_acknowledged_no_sooner(self) -> None:
        """etcd-io/etcd#14370: those that are saved together are acknowledged together, in their order."""
        seats = [self.owner(name) for name in ("alice", "bob", "carol")]
        self.store.is_quick = False
        order: list[int] = []
        for number, seat in enumerate(seats):
            writing = self.registry.update(seat, [row(f"r{number}")], [])
            writing.addCallback(lambda _, number=number: order.append(number))
        self.store.let_through()
        self.assertEqual((order, sorted(self.numbers())), ([0], [0]))
        self.live()
        self.assertEqual(sorted(self.numbers()), [0])

    def test_15271_a_watch_does_not_go_back_in_time(self) -> None:
        """etcd-io/etcd#15271: after a partition a watch went on at a server that was behind, with older events.

        Here a registry that is behind, as its disk was put back, has another epoch, and says reset.
        """
        seat = self.owner("alice", row("a", port=1))
        backup = self.path.with_name("backup")
        self.close_all()
        copyfile(self.path, backup)
        self.live()
        seat = self.owner("alice", row("a", port=1))
        follower = Follower(self)
        for port in range(2, 6):
            self.update(seat, [row("a", port=port)])
            follower.catch_up()
        seen = self.registry.revision
        self.assertEqual(follower.revisions, sorted(set(follower.revisions)))
        # A kill and a new life: it goes on where it was.
        self.live()
        self.assertFalse(follower.read())
        # The backup.
        self.close_all()
        self.path.unlink()
        copyfile(backup, self.path)
        for more in self.path.parent.glob(f"{self.path.name}-*"):
            more.unlink()
        self.live()
        self.assertNotEqual(self.registry.revision.epoch, seen.epoch)
        self.assertGreater(self.registry.revision.number, seen.number)
        del follower.lines[:]
        follower.catch_up()
        self.assertEqual((follower.lines[0][0], follower.table), ("reset", {"a": 1}))
        follower.catch_up()
        self.assertEqual(len(follower.lines), 2)

    def test_17247_no_event_comes_twice(self) -> None:
        """etcd-io/etcd#17247: a watch was told of one event twice."""
        follower = Follower(self)
        follower.catch_up()
        del follower.lines[:]
        seat = self.owner("alice", *[row(f"r{number}") for number in range(8)])
        # It is cut off after each page, in the middle of what belongs together.
        self.registry._history._page_bytes = 600
        while follower.read():
            # A repeated question has the same answer, and says nothing of what was before.
            self.assertEqual(self.page(follower.position).lines, self.page(follower.position).lines)
        # What changes nothing is no event: a repeated write, a repeated publication, freeing what is free.
        self.update(seat, [row("r1")])
        self.update(seat, [], ["nothing", "nothing"])
        seat = self.owner("alice", *[row(f"r{number}") for number in range(8)])
        for put, free in (([row("x"), row("x")], []), ([row("x")], ["x"])):
            with self.assertRaises(UsageError):
                self.registry.update(seat, put, free)
        self.update(seat, [], ["r1", "r1"])
        self.live()
        follower.catch_up()
        self.assertEqual(follower.lines, [("put", n + 1, f"r{n}") for n in range(8)] + [("delete", 9, "r1")])

    def test_17529_a_watch_that_starves_loses_nothing(self) -> None:
        """etcd-io/etcd#17529: of a stream that was not read for long, events were lost.

        Here nothing is kept for it; what is still known it gets, and a reset says so if not all is.
        """
        seat = self.owner("alice")
        for starved in range(1, 3 * MAX_CHANGES):
            follower = Follower(self)
            follower.catch_up()
            before = self.registry.revision.number
            del follower.lines[:]
            for number in range(starved):
                self.update(seat, [row(f"r{number % 5}", port=before + number + 1)])
            follower.catch_up()
            self.assertEqual(follower.table, self.table())
            if follower.lines[0][0] == "reset":
                self.assertGreater(starved, MAX_CHANGES)
            else:
                self.assertEqual(follower.revisions, list(range(before + 1, before + starved + 1)))

    def test_17529_a_watch_loses_nothing_behind_a_lot_that_it_does_not_want(self) -> None:
        """etcd-io/etcd#17529: more than is looked at in one go, and then what it waits for, which is there already."""
        self.registry._history._max_changes = 50_000
        seat = self.owner("alice")
        for port in range(1, 5):
            self.update(seat, [row(f"r{number}", port=port) for number in range(2000)])
        self.update(seat, [row("s", role="say")])
        self.update(seat, [row("t", role="say")])
        for wait in (0.0, 20.0):
            following = self.registry.follow(Position.parse("0"), RowFilter(role="say"), wait, object(), "")
            page: Deferred[Page] = Deferred.fromCoroutine(following)
            self.clock.advance(0)
            self.assertEqual([line["row"]["id"] for line in self.successResultOf(page).lines], ["s", "t"])

    def test_17780_the_revision_does_not_decrease_when_the_last_change_was_a_deletion(self) -> None:
        """etcd-io/etcd#17780: a compaction took the newest revision, a tombstone, with it; then came a crash."""
        seat = self.owner("alice")
        ids = [f"r{number}" for number in range(900)]
        self.update(seat, [row(row_id) for row_id in ids])
        revision = self.update(seat, [], ids)
        for _ in range(50):
            # A step of tidying, then a kill.
            self.files[-1].tidy(True)
            self.live()
            self.assertEqual((self.registry.revision, self.table()), (revision, {}))
        self.assertGreater(self.owner("bob", row("b")).number, 0)
        self.assertEqual(self.registry.revision, Revision(revision.epoch, revision.number + 1))

    def test_19179_no_deletion_is_missed_where_the_history_begins(self) -> None:
        """etcd-io/etcd#19179: a watch from the very revision of a compaction was not told of the deletion there."""
        seat = self.owner("alice")
        tables: list[dict[str, int]] = [self.table()]
        for number in range(2 * MAX_CHANGES + 9):
            if number % 3 == 2:
                self.update(seat, [], [f"r{number - 1}"])
            else:
                self.update(seat, [row(f"r{number}", port=number + 1)])
            tables.append(self.table())
        for _ in ("as it was", "after a kill"):
            resets = []
            for number, table in enumerate(tables):
                follower = Follower(self, position=str(number))
                follower.table = dict(table)
                follower.catch_up()
                self.assertEqual(follower.table, tables[-1], number)
                if follower.lines and follower.lines[0][0] == "reset":
                    resets.append(number)
            # All too old ones and no other.
            self.assertEqual(resets, list(range(len(resets))))
            self.assertTrue(0 < len(resets) <= len(tables) - MAX_CHANGES)
            self.live()

    def test_20418_a_process_that_was_paused_reads_nothing_stale(self) -> None:
        """etcd-io/etcd#20418: after a pause a server answered from before it.

        What falls during the pause is gone for the first who asks, before any timer has run. There is no other registry
        that could have gone on meanwhile: one that finds another's writes on its disk ends.
        """
        lost = self.owner("alice", row("a"))
        self.owner("bob", row("b"))
        self.registry.lost(lost)
        self.clock.rightNow += TIMEOUT
        self.assertEqual(self.table(), {"b": 20001})
        for some in (
            self.registry.candidates(ANY),
            list(self.registry.rows(ANY)),
            [found for _, found in self.registry.places(ANY, Near()) if found],
        ):
            self.assertEqual([found.id for found in some], ["b"])
        paused = self.rival()
        self.owner("dave", row("d"))
        seat = paused.attach("carol", "d", b"", "", "10.0.0.3", lambda: None)
        self.failureResultOf(paused.publish(seat, [row("c", namespace="x")]), Busy)
        self.assertEqual(self.failed, [Superseded])
        self.flushLoggedErrors(Superseded)
        with self.assertRaises(Busy):
            paused.publish(seat, [])
        self.assertEqual(list(self.table()), ["b", "d"])

    def rival(self) -> Registry:
        """Another registry on the same disk, which the lock of the state directory did not keep away."""
        self.files.append(QuickFile(self.path))
        self.failed: list[type[Exception]] = []
        rival = Registry(Clock(), inline_store(self.files[-1]), fail=lambda error: self.failed.append(type(error)))
        self.successResultOf(rival.open())
        return rival


class ConsulTests(BugCase):
    """Zombies in the catalogue, and watches that wake in vain or not at all."""

    def test_1188_what_its_owner_does_not_stand_for_any_more_is_no_zombie(self) -> None:
        """hashicorp/consul#1188: a service came back, or stayed, after its agent had left or was rebuilt.

        The first publication of a new session is all that its owner has: the rest goes with it, at once and together.
        """
        self.owner("alice", row("a"), row("b"))
        self.live()
        self.assertEqual(self.marked(), ["a", "b"])
        self.owner("alice", row("b"), row("c"))
        self.assertEqual((list(self.table()), self.marked()), (["b", "c"], []))

    def test_1188_what_an_owner_freed_as_it_left_does_not_come_back(self) -> None:
        """hashicorp/consul#1188: neither by a late word of the session, nor by a kill of the registry."""
        seat = self.owner("alice", row("a"))
        self.done(self.registry.leave(seat))
        for late in (
            lambda: self.registry.publish(seat, [row("a")]),
            lambda: self.registry.update(seat, [row("a")], []),
            lambda: self.registry.confirm(seat, Revision(self.registry.revision.epoch, 1)),
        ):
            with self.assertRaises(Superseded):
                late()
        self.registry.lost(seat)
        self.live()
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.table(), {})

    def test_3122_a_dead_owners_rows_fall_in_time_whoever_restarts(self) -> None:
        """hashicorp/consul#3122: services of dead nodes stayed for ever; each restart of the registry is a new lease,
        but no more than one."""
        self.owner("alice", row("a"))
        self.live()
        self.clock.advance(TIMEOUT - 1)
        self.assertEqual(self.marked(), ["a"])
        self.live()
        self.clock.advance(TIMEOUT - 1)
        self.assertEqual(self.marked(), ["a"])
        self.clock.advance(1)
        self.assertEqual(self.table(), {})
        self.live()
        self.assertEqual(self.table(), {})

    def test_9577_who_is_dead_cannot_be_kept_alive_by_an_older_session(self) -> None:
        """hashicorp/consul#9577: a service that was removed was registered again from what an agent still knew.

        Only the newest session of an owner writes; the older one is hung up on, and what it says late is refused.
        """
        old = self.owner("alice", row("a"))
        new = self.owner("alice", row("b"))
        self.assertEqual(self.hung_up, ["alice"])
        with self.assertRaises(Superseded):
            self.registry.update(old, [row("a")], ["b"])
        with self.assertRaises(Superseded):
            self.registry.publish(old, [row("a")])
        # That its link ends marks nothing, and its goodbye frees nothing.
        self.registry.lost(old)
        with self.assertRaises(Superseded):
            self.registry.leave(old)
        self.assertEqual((list(self.table()), self.marked()), (["b"], []))
        self.registry.lost(new)
        self.assertEqual(self.marked(), ["b"])

    def test_registrator_505_nobody_but_their_owner_removes_rows(self) -> None:
        """gliderlabs/registrator#505: dangling services were left, or those of other hosts were cleaned away."""
        self.owner("alice", row("a"))
        bob = self.owner("bob", row("b"))
        for put, free in (([], ["a"]), ([row("a", port=6666)], []), ([row("c")], ["a"])):
            with self.assertRaises(NotOwner):
                self.registry.update(bob, put, free)
        with self.assertRaises(NotOwner):
            self.registry.publish(bob, [row("a")])
        self.done(self.registry.publish(bob, []))
        self.assertEqual(self.table(), {"a": 20001})

    def test_1244_a_watch_sleeps_while_other_services_change(self) -> None:
        """hashicorp/consul#1244: each change of any service woke all watches."""
        seat = self.owner("alice", row("a"), row("s", role="say"))
        at = str(self.registry.revision.number)
        wanted = RowFilter(role="say")
        following = self.registry.follow(Position.parse(at), wanted, 20.0, object(), "")
        sleeping: Deferred[Page] = Deferred.fromCoroutine(following)
        waiting = Deferred.fromCoroutine(self.registry.wait(RowFilter(role="say", app="another"), 20.0, ""))
        for number in range(3 * MAX_CHANGES):
            self.update(seat, [row("a", port=number + 1), row("o", namespace=OTHER)], [])
        self.assertNoResult(sleeping)
        self.assertNoResult(waiting)
        self.update(seat, [row("s", role="say", port=7)])
        self.assertEqual([line["row"]["port"] for line in self.successResultOf(sleeping).lines], [7])
        self.assertNoResult(waiting)
        self.clock.advance(20)
        self.assertFalse(self.successResultOf(waiting))

    def test_3890_a_watch_that_began_before_the_service_was_there_is_woken(self) -> None:
        """hashicorp/consul#3890, #6530: it was not, or with an index that then hid the next change."""
        wanted = RowFilter(role="say")
        at = str(self.page("", wanted).position)
        for _ in range(3):
            sleeping = Deferred.fromCoroutine(self.registry.follow(Position.parse(at), wanted, 20.0, object(), ""))
            self.owner("bob", row("b"))
            self.assertNoResult(sleeping)
            seat = self.owner("alice", row("s", role="say"))
            came = self.successResultOf(sleeping)
            self.assertEqual([line["type"] for line in came.lines], ["put"])
            sleeping = Deferred.fromCoroutine(self.registry.follow(came.position, wanted, 20.0, object(), ""))
            self.done(self.registry.leave(seat))
            self.owner("bob")
            gone = self.successResultOf(sleeping)
            self.assertEqual([line["type"] for line in gone.lines], ["delete"])
            at = str(gone.position)

    def test_6530_where_numbers_begin_anew_a_watch_is_told_so(self) -> None:
        """hashicorp/consul#3890, #6530: after a reset of the index to a lower one, updates were missed.

        The epoch belongs to the number: one from before, however high, is answered with a reset, at once.
        """
        self.owner("alice", *[row(f"r{number}") for number in range(10)])
        position = str(self.page().position)
        self.close_all()
        for file in self.path.parent.glob(f"{self.path.stem}*"):
            file.unlink()
        self.live()
        self.owner("alice", row("new"))
        following = self.registry.follow(Position.parse(position), ANY, 20.0, object(), "")
        page = self.successResultOf(Deferred.fromCoroutine(following))
        self.assertEqual([line["type"] for line in page.lines], ["reset", "put"])
        self.assertEqual(page.lines[0]["epoch"], self.registry.revision.epoch)
        # A mere number that is yet to come may be of any epoch.
        for ahead in ("999", f"{page.position.epoch}.999", f"{page.position.epoch}.1-s999"):
            self.assertEqual(self.page(ahead).lines[0]["type"], "reset", ahead)

    def test_what_was_acknowledged_is_in_every_read_from_then_on(self) -> None:
        """Consul's default reads could be stale (aphyr.com/posts/316): here whoever asks reads what is on the disk."""
        seat = self.owner("alice")
        self.store.is_quick = False
        seen: list[tuple[dict[str, int], Revision, Revision]] = []
        for number in range(5):
            before = {"a": number} if number else {}
            writing = self.registry.update(seat, [row("a", port=number + 1)], [])
            lines = self.page().lines[1:]
            self.assertEqual(
                (self.table(), {line["row"]["id"]: line["row"]["port"] for line in lines}), (before, before)
            )
            writing.addCallback(lambda done: seen.append((self.table(), done.revision, self.registry.revision)))
            self.store.let_through()
            table, acknowledged, revision = seen[-1]
            self.assertEqual((table, acknowledged, len(seen)), ({"a": number + 1}, revision, number + 1))


class RebootTests(BugCase):
    """After a reboot: a wrong address, and a wrong app behind it (dokku#2400, #2846, #3932, #2996; coolify#1087)."""

    def test_dokku_2400_an_owner_that_comes_back_elsewhere_is_found_there(self) -> None:
        """Its rows say the new host from its first word on; it cannot confirm those that say the old one."""
        self.owner("alice", row("a"), row("b"), host="10.0.0.1")
        stands = self.registry.revision
        self.live()
        seat = self.attach("alice", host="10.0.0.2")
        # Nobody is told that what is there is sure.
        self.assertEqual(self.marked(), ["a", "b"])
        with self.assertRaises(Refused):
            self.registry.confirm(seat, stands)
        follower = Follower(self, position=f"{stands.epoch}.{stands.number}")
        self.done(self.registry.publish(seat, [row("a"), row("b")]))
        self.assertEqual({found.host for found in self.registry.rows(ANY)}, {"10.0.0.2"})
        follower.catch_up()
        self.assertEqual([kind for kind, _, _ in follower.lines], ["put", "put"])

    def test_dokku_3932_an_address_that_another_has_now_is_not_said_to_be_the_first_ones(self) -> None:
        """Two owners may say the same host and port; each has rows of its own, and the dead one's are marked."""
        lost = self.owner("alice", row("a"))
        self.registry.lost(lost)
        self.owner("bob", row("b", namespace=OTHER))
        self.assertEqual((self.marked(), len(self.table())), (["a"], 2))
        self.assertEqual([found.id for found in self.registry.rows(RowFilter(COMMIT))], ["a"])
        self.clock.advance(TIMEOUT)
        self.assertEqual(self.table(), {"b": 20001})


class PartitionTests(SessionCase):
    """The same through real bytes, over links that are cut."""

    def test_15271_a_client_sees_no_older_table_after_a_partition(self) -> None:
        """etcd-io/etcd#15271: nor from a second address, whose registry has an epoch of its own."""
        other = Network(clock=self.network.clock, epochs="other")
        seen: list[tuple[str, int]] = []
        resets: list[bool] = []

        def reset(rows: object, revision: Revision, same_epoch: bool) -> None:
            resets.append(same_epoch)
            seen.append((revision.epoch, revision.number))

        watcher = RowWatcher(
            dial=self.network.dial("read", secret=None),
            reset=reset,
            changed=lambda put, gone, revision: seen.append((revision.epoch, revision.number)),
        )
        watcher.startService()
        self.network.flush()
        identity = Identity.create()
        peer = self.owner(identity)
        self.publish(peer, row("a"))
        for number in range(1, 4):
            (self.network.cut, self.network.silence, self.network.reopen)[number - 1]()
            self.network.up = False
            self.network.advance(100)
            self.network.up = True
            peer = self.owner(identity)
            self.publish(peer, row("a", port=number))
            self.network.advance(100)
        self.assertEqual(seen, sorted(set(seen)))
        self.assertEqual(seen[-1], (self.network.registry.revision.epoch, self.network.registry.revision.number))
        self.assertEqual(resets[1:], [True] * len(resets[1:]))
        self.network.connect = other.connect  # type: ignore[method-assign]
        self.network.cut()
        for _ in range(100):
            self.network.advance(1)
            other.flush()
        self.assertEqual((resets[-1], seen[-1][0]), (False, other.registry.revision.epoch))
        watcher.stopService()
        for network in (self.network, other):
            network.cut()

    def test_17247_a_write_whose_answer_was_lost_may_be_said_again(self) -> None:
        """etcd-io/etcd#17247: it is no second event."""
        identity = Identity.create()
        peer = self.owner(identity)
        self.publish(peer, row("a"))
        unheard = peer.call(Update, put=(row("b"),), free=())
        self.network.pumps[0].pump()
        self.network.cut()
        unheard.addErrback(lambda _: None)
        number = self.network.registry.revision.number
        again = self.owner(identity)
        self.publish(again, row("a"), row("b"))
        self.update(again, (row("b"),))
        self.assertEqual((number, self.network.registry.revision.number), (2, 2))

    def test_9577_two_lives_of_one_owner_do_not_take_turns(self) -> None:
        """hashicorp/consul#9577: the rows of the elder are those of the younger, or none."""
        identity = Identity.create()
        elder = self.owner(identity)
        self.publish(elder, row("a"))
        younger = self.network.session("register", identity)
        proof = drone_credential(SECRET, identity.owner)
        attaching = younger.call(Attach, name="d1", credential=proof, advertise="")
        late = elder.call(Publish, part=0, parts=1, rows=(row("z"),))
        late.addErrback(lambda _: None)
        self.network.answer(attaching)
        self.publish(younger, row("b"))
        self.assertEqual([found["id"] for found in self.rows()], ["b"])
