"""Which rows of the port table the router believes, and how they outlive the registry."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.router import DroneHost, TableItem
from deployd.router.belief import RowChanges
from deployd.router.table import GRACE, Table
from tests.router.tables import DRONE, HOST, OWNER, Told, route, row

OTHER = "owner of d2"
OTHER_DRONE = TableItem(drone=DroneHost(OTHER, "192.0.2.2"))


def other(id: str, port: int = 20000) -> Registration:
    return evolve(row(id, port=port), host="192.0.2.2", owner=OTHER)


class BeliefTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Told(route(v1=1))

    def reasons(self) -> list[str]:
        return [why for _, why in self.table.rows.refused.values()]

    def test_a_row_of_a_drone_at_its_host_is_believed(self) -> None:
        self.table.put(row("http-1"))
        self.assertIsNotNone(self.table.get())

    def test_a_row_of_nobody_whom_the_hub_knows_is_refused(self) -> None:
        self.table.put(evolve(row("http-1"), owner="somebody"))
        self.assertIsNone(self.table.get())
        self.assertEqual(self.reasons(), ["its owner is no drone that the hub accepted"])

    def test_a_row_at_another_host_is_refused(self) -> None:
        self.table.put(evolve(row("http-1"), host="127.0.0.1"))
        self.assertIsNone(self.table.get())
        self.assertEqual(self.reasons(), [f"its drone is at {HOST}"])

    def test_a_row_at_a_port_of_deployd_is_refused_also_when_that_is_known_later(self) -> None:
        self.table.put(row("http-1", port=6001), row("http-2", port=6002))
        self.table.forbid([(HOST, 6001), ("192.0.2.9", 6002)])
        self.assertEqual(list(self.table.rows.targets), ["http-2"])
        self.assertEqual(self.reasons(), ["deployd itself listens there"])
        self.table.forbid([])
        self.assertEqual(set(self.table.rows.targets), {"http-1", "http-2"})

    def test_a_port_of_deployd_is_the_same_at_each_name_of_this_machine(self) -> None:
        self.table.forbid([("127.0.0.1", 6001), ("10.0.0.1", 6001)])
        for host in ("127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1", "::1", "::ffff:10.0.0.1"):
            self.table.delta(TableItem(drone=DroneHost(OWNER, host)))
            self.table.put(evolve(row("http-1", port=6001), host=host), evolve(row("http-2"), host=host))
            self.assertEqual(list(self.table.rows.targets), ["http-2"], host)

    def test_rows_that_are_of_no_release_are_nobody_s_mistake(self) -> None:
        good = row("http-1")
        rows = [
            evolve(good, namespace="staging"),
            evolve(good, id="http-2", app=""),
            evolve(good, id="http-3", release=""),
            evolve(good, id="http-4", release="latest"),
            evolve(good, id="http-5", port=0),
            evolve(good, id="http-6", namespace=good.namespace[:39]),
        ]
        with capturedLogs() as logged:
            self.table.put(*rows)
        self.assertEqual((self.table.rows.ids(), logged), (set(), []))

    def test_a_row_that_becomes_one_of_those_is_gone(self) -> None:
        self.table.put(row("http-1"))
        self.table.put(evolve(row("http-1"), namespace="staging"))
        self.assertIsNone(self.table.get())

    def test_a_drone_that_the_hub_tells_of_later_is_believed_then(self) -> None:
        self.table.put(other("http-2"))
        self.assertIsNone(self.table.get())
        self.table.delta(OTHER_DRONE)
        target = self.table.get()
        assert target is not None
        self.assertEqual((target.id, self.table.rows.refused), ("http-2", {}))

    def test_a_drone_that_moves_or_is_dropped_is_not_believed_where_it_was(self) -> None:
        self.table.put(row("http-1"))
        self.table.delta(TableItem(drone=DroneHost(OWNER, "192.0.2.9")))
        self.assertIsNone(self.table.get())
        self.table.delta(DRONE)
        self.assertIsNotNone(self.table.get())
        self.table.delta(TableItem(lost=OWNER))
        self.assertIsNone(self.table.get())
        self.assertEqual(len(self.table.shut), 2)

    def test_each_refusal_is_logged_once_with_its_reason(self) -> None:
        with capturedLogs() as logged:
            for _ in range(3):
                self.table.put(other("http-2"))
                self.table.delta(DRONE, route(v2=1))
        self.assertEqual([(event["id"], event["log_level"]) for event in logged], [("http-2", LogLevel.warn)])

    def test_nothing_is_refused_aloud_before_the_hub_was_heard(self) -> None:
        table = Table(Clock())
        with capturedLogs() as logged:
            table.rows_changed([row("http-1"), other("http-2")], (), Revision("registry", 1))
            self.assertEqual(logged, [])
            table.follow(Revision("hub", 1), [DRONE], True)
        self.assertEqual([event["id"] for event in logged], ["http-2"])

    def test_a_refused_row_is_forgotten_when_it_goes(self) -> None:
        self.table.put(other("http-2"))
        self.table.free("http-2")
        self.table.delta(OTHER_DRONE)
        self.assertEqual(self.table.rows.ids(), set())

    def test_it_tells_what_has_changed_in_the_end(self) -> None:
        good, same = row("http-1"), row("http-2")
        self.table.put(same)
        changed = self.table.rows_changed(
            [good, same, evolve(row("x"), app="")], ["nothing", "http-1"], Revision("registry", 9)
        )
        self.assertEqual(changed, RowChanges((good,), ()))
        gone = self.table.rows_changed([], ["http-1", "http-1", "nothing"], Revision("registry", 10))
        self.assertEqual(gone, RowChanges((), ("http-1",)))
        self.assertEqual(self.table.registry, Revision("registry", 10))


class RestartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rows = [row(f"http-{n}", port=20000 + n) for n in (1, 2)]
        self.others = [other("http-3"), other("http-4", 20004)]
        self.table = Told(route(v1=1), OTHER_DRONE, rows=[*self.rows, *self.others])
        self.fallen: list[RowChanges] = []
        self.table.fallen = self.fallen.append

    def ids(self) -> set[str]:
        return set(self.table.rows.targets)

    def reset(self, *rows: Registration, epoch: str = "new") -> RowChanges:
        return self.table.rows_replaced(rows, Revision(epoch, 1))

    def test_rows_that_the_same_registry_does_not_have_any_more_go(self) -> None:
        self.assertEqual(set(self.reset(self.rows[0], epoch="registry").gone), {"http-2", "http-3", "http-4"})
        self.assertEqual(self.ids(), {"http-1"})

    def test_rows_stay_when_the_registry_starts_anew(self) -> None:
        target = self.table.sent()
        self.assertEqual(self.reset(), RowChanges())
        self.assertEqual((len(self.ids()), target.gone, self.table.registry), (4, False, Revision("new", 1)))

    def test_an_owner_s_first_rows_end_those_of_its_others_that_are_not_among_them(self) -> None:
        self.reset()
        self.table.put(self.rows[1], epoch="new")
        self.assertEqual(self.ids(), {"http-2", "http-3", "http-4"})
        self.table.put(other("http-5"), epoch="new")
        self.assertEqual(self.ids(), {"http-2", "http-5"})

    def test_owners_that_have_published_before_the_router_came_count_too(self) -> None:
        self.assertEqual(self.reset(*self.rows[:1]), RowChanges((), ("http-2",)))
        self.assertEqual(self.ids(), {"http-1", "http-3", "http-4"})

    def test_a_second_list_in_the_new_epoch_ends_only_what_was_confirmed(self) -> None:
        self.reset(*self.rows)
        self.reset(self.rows[0])
        self.assertEqual(self.ids(), {"http-1", "http-3", "http-4"})

    def test_what_nobody_has_confirmed_after_the_grace_falls(self) -> None:
        self.reset(*self.rows)
        self.table.clock.advance(GRACE - 0.1)
        self.assertEqual(len(self.ids()), 4)
        waiting = self.table.when_changed()
        self.table.clock.advance(0.1)
        self.assertEqual(
            (self.ids(), [set(each.gone) for each in self.fallen]), ({"http-1", "http-2"}, [{"http-3", "http-4"}])
        )
        self.successResultOf(waiting)

    def test_nothing_falls_while_the_registry_is_not_heard(self) -> None:
        self.reset()
        self.table.clock.advance(GRACE - 1)
        self.table.registry_lost()
        self.table.clock.advance(10 * GRACE)
        self.assertEqual(len(self.ids()), 4)
        self.table.put(epoch="new")
        self.table.clock.advance(GRACE - 1)
        self.assertEqual(len(self.ids()), 4)
        self.table.clock.advance(1)
        self.assertEqual(self.ids(), set())

    def test_a_registry_that_starts_anew_again_gives_the_grace_again(self) -> None:
        self.reset()
        self.table.clock.advance(GRACE - 1)
        self.reset(epoch="newer")
        self.table.clock.advance(GRACE - 1)
        self.assertEqual(len(self.ids()), 4)

    def test_once_all_are_confirmed_no_clock_runs(self) -> None:
        self.reset()
        self.table.put(*self.rows, *self.others, epoch="new")
        self.assertEqual((self.table.clock.getDelayedCalls(), self.table.rows.unconfirmed), ([], set()))

    def test_a_row_that_is_freed_in_the_new_epoch_goes_at_once(self) -> None:
        self.reset()
        self.table.free("http-1")
        self.assertEqual(self.ids(), {"http-2", "http-3", "http-4"})

    def test_saved_rows_wait_for_their_owners_too(self) -> None:
        saved = self.table.snapshot()
        table = Told()
        table.restore(saved.table, saved.items, saved.registry, saved.rows)
        self.assertEqual((set(table.rows.targets), table.clock.getDelayedCalls()), (self.ids(), []))
        table.rows_replaced(self.rows[:1], Revision("registry", 7))
        self.assertEqual(set(table.rows.targets), {"http-1", "http-3", "http-4"})
        table.clock.advance(GRACE)
        self.assertEqual(set(table.rows.targets), {"http-1"})
