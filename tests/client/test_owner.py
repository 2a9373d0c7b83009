"""Rows that are kept registered, against a registry over iosim."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from deployd.client.owner import OwnedRows
from deployd.errors import NotOwner, Refused
from deployd.net.identity import Identity
from deployd.net.secret import drone_credential
from deployd.registry.filter import RowFilter
from deployd.wire.registry import Attach, Publish
from tests.client.network import SECRET, TIMEOUT, Network
from tests.client.rows_contract import OwnedRowsContract, row


class OwnedRowsTests(OwnedRowsContract):
    def setUp(self) -> None:
        super().setUp()
        self.network = Network()
        self.identity = Identity.create()
        self.rows = self.owned(self.identity)

    def owned(self, identity: Identity) -> OwnedRows:
        return OwnedRows(
            dial=self.network.dial("register", identity),
            name="drone-1",
            credential=drone_credential(SECRET, identity.owner),
            failed=self.failures.append,
        )

    def turn(self) -> None:
        self.network.flush()

    def lose_link(self) -> None:
        self.network.up = False
        self.network.cut()

    def restore_link(self) -> None:
        self.network.up = True
        self.network.advance(10)

    def restart_registry(self) -> None:
        self.network.restart()
        self.network.advance(1)

    def refuse(self, row_id: str) -> None:
        stranger = Identity.create()
        peer = self.network.session("register", stranger)
        self.network.answer(peer.call(Attach, name="", credential=b"", advertise=""))
        taken = row(row_id, namespace="elsewhere")
        self.network.answer(peer.call(Publish, part=0, parts=1, rows=(taken,)))

    def table(self) -> dict[str, int]:
        rows = self.network.registry.rows(RowFilter())
        return {found.id: found.port for found in rows if found.owner == self.identity.owner}

    def failed_rows(self) -> list[str]:
        return [str(error) for error in self.failures if isinstance(error, NotOwner)]

    # What only the real one can show.

    def test_ten_thousand_rows_are_published_in_parts_after_a_restart(self) -> None:
        self.start()
        waiting = [self.rows.put(row(f"http-{number}", 1 + number)) for number in range(10_000)]
        self.turn()
        for done in waiting:
            self.successResultOf(done)
        self.failureResultOf(self.rows.put(row("http-one-too-many")), Refused)
        self.network.restart()
        self.network.advance(1)
        self.assertEqual(len(self.table()), 10_000)

    def test_many_changes_while_one_update_is_on_the_way_are_sent_as_one(self) -> None:
        self.start()
        before = self.network.registry.revision.number
        self.rows.put(row(port=20000))
        self.network.clock.advance(0)
        for port in range(20001, 20500):
            self.rows.put(row(port=port))
        self.turn()
        self.assertEqual(self.table(), {"http-1": 20499})
        self.assertEqual(self.network.registry.revision.number, before + 2)

    def test_a_link_that_goes_dead_in_mid_update_is_replaced_without_a_gap(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.network.silence()
        waiting = self.rows.put(row("say-1", 20002))
        self.network.advance(9)
        self.assertNoResult(waiting)
        self.network.advance(5)
        self.done(waiting)
        self.assertEqual(self.table(), {"http-1": 20001, "say-1": 20002})
        self.network.advance(2 * TIMEOUT)
        self.assertEqual(len(self.table()), 2)

    def test_what_is_asked_for_in_one_turn_goes_together_and_a_lot_of_it_in_several_at_once(self) -> None:
        self.start()
        sent = self.counting("update")
        for number in range(1000):
            self.rows.put(row(f"http-{number}", 20000 + number))
        self.network.clock.advance(0)
        self.network.pumps[0].pump()
        self.turn()
        self.assertEqual(len(self.table()), 1000)
        self.assertLess(len(sent), 10)

    def test_a_lot_is_on_its_way_before_all_of_it_is_asked_for(self) -> None:
        self.start()
        sent = self.counting("update")
        for number in range(1000):
            self.rows.put(row(f"http-{number}", 20000 + number))
        self.network.pumps[0].pump()
        self.assertGreater(len(sent), 2)
        self.network.clock.advance(0)
        self.turn()
        self.assertEqual(len(self.table()), 1000)

    def counting(self, method: str) -> list[Any]:
        """What the registry is asked for from now on."""
        registry, asked = self.network.registry, []
        original = getattr(registry, method)

        def count(*arguments: Any) -> Any:
            asked.append(arguments)
            return original(*arguments)

        setattr(registry, method, count)
        return asked

    def test_rows_that_stand_are_confirmed_and_not_published_again(self) -> None:
        self.start()
        for number in (1, 2, 3):
            self.done(self.rows.put(row(f"http-{number}", 20000 + number)))
        self.done(self.rows.put(row("http-1", 20001)))
        self.done(self.rows.free("http-9"))
        self.network.cut()
        before = self.network.registry.revision
        published, confirmed = self.counting("replace"), self.counting("confirm")
        self.network.advance(1)
        self.assertEqual((len(published), len(confirmed)), (0, 1))
        self.network.reopen()
        published, confirmed = self.counting("replace"), self.counting("confirm")
        self.network.advance(1)
        self.assertEqual((len(published), len(confirmed)), (0, 1))
        self.assertEqual(self.network.registry.revision, before)
        self.network.advance(2 * TIMEOUT)
        self.assertEqual(len(self.table()), 3)

    def test_what_changed_while_away_is_sent_after_the_confirmation(self) -> None:
        self.start()
        for number in (1, 2, 3):
            self.done(self.rows.put(row(f"http-{number}", 20000 + number)))
        self.lose_link()
        done = [self.rows.put(row("http-1", 30001)), self.rows.free("http-2"), self.rows.put(row("http-4", 20004))]
        self.rows.put(row("http-3", 30003)).addErrback(lambda _: None).cancel()
        published = self.counting("replace")
        self.restore_link()
        for each in done:
            self.done(each)
        self.assertEqual(self.table(), {"http-1": 30001, "http-3": 30003, "http-4": 20004})
        self.assertEqual(published, [])

    def test_where_the_answer_was_lost_all_rows_are_published(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.rows.put(row("http-2", 20002)).addErrback(lambda _: None)
        self.network.clock.advance(0)
        (pump,) = self.network.pumps
        pump.pump()
        self.assertEqual(len(self.table()), 2)
        pump.serverIO.getOutBuffer()
        self.rows.free("http-2").addErrback(lambda _: None).cancel()
        published = self.counting("replace")
        self.lose_link()
        self.restore_link()
        self.assertEqual((len(published), self.table()), (1, {"http-1": 20001}))

    def test_rows_that_get_another_host_are_published(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.network.cut()
        self.rows.advertise = "10.0.0.7"
        published = self.counting("replace")
        self.network.advance(1)
        self.assertEqual(len(published), 1)
        self.assertEqual([one.host for one in self.network.registry.rows(RowFilter())], ["10.0.0.7"])

    def test_a_full_disk_of_the_registry_is_waited_out(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.network.store.full = True
        done = self.rows.put(row("http-2", 20002))
        self.network.advance(20)
        self.assertNoResult(done)
        self.network.store.full = False
        self.network.advance(10)
        self.done(done)
        self.assertEqual(len(self.table()), 2)

    def test_rows_fall_when_the_owner_is_killed_and_stay_when_it_only_stops_for_a_moment(self) -> None:
        self.start()
        self.done(self.rows.put(row()))
        self.lose_link()
        self.network.advance(TIMEOUT - 1)
        self.assertEqual(len(self.table()), 1)
        self.restore_link()
        self.network.advance(2 * TIMEOUT)
        self.assertEqual(len(self.table()), 1)
        self.lose_link()
        self.network.advance(TIMEOUT + 1)
        self.assertEqual(self.table(), {})
        self.restore_link()
        self.assertEqual(self.table(), {"http-1": 20001})

    def test_a_restart_of_the_owner_takes_over_from_its_half_open_self(self) -> None:
        """The first one's machine lost power; the registry does not know yet, and takes the new session's word."""
        self.start()
        self.done(self.rows.put(row()))
        self.network.silence()
        again = self.owned(self.identity)
        again.startService()
        self.addCleanup(again.stopService)
        self.turn()
        self.done(again.put(row("http-2", 20002)))
        self.assertEqual(self.table(), {"http-2": 20002})

    def test_rows_that_somebody_took_after_a_restart_of_the_registry_do_not_keep_the_others_out(self) -> None:
        self.start()
        for number in (1, 2, 3):
            self.done(self.rows.put(row(f"http-{number}", 20000 + number)))
        self.network.up = False
        self.network.restart()
        self.network.up = True
        self.refuse("http-2")
        self.network.advance(1)
        self.assertEqual(self.table(), {"http-1": 20001, "http-3": 20003})
        self.assertEqual(len(self.failed_rows()), 2)
        self.network.restart()
        self.network.advance(1)
        self.assertEqual(len(self.table()), 3)

    def test_a_wrong_secret_is_told_and_tried_again(self) -> None:
        self.network.secret = None
        self.network.restart()
        self.start()
        self.network.advance(20)
        self.assertGreater(len(self.failures), 2)
        self.assertIn("registry:6000", str(self.failures[0]))

    def test_goodbye_to_a_registry_that_does_not_answer_takes_two_seconds(self) -> None:
        self.start()
        self.network.silence()
        left: Deferred[None] = self.rows.leave()
        self.network.advance(1.5, 0.5)
        self.assertNoResult(left)
        self.network.advance(1, 0.5)
        self.successResultOf(left)

    def test_the_registry_names_its_http_address_as_it_is_reached_from_here(self) -> None:
        self.start()
        self.assertEqual((self.rows.http, self.rows.url), ("registry:6080", "http://registry:6080"))

    def test_the_registry_says_whether_its_http_is_over_tls(self) -> None:
        self.network.scheme = "https"
        self.start()
        self.assertEqual(self.rows.url, "https://registry:6080")


del OwnedRowsContract
