"""The drone's link to its keeper, through breaks of either."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.keeper_link import FIRST_PAUSE, GOODBYE, STEADY
from deployd.drone.keeping import CERTAIN, REMARKS, START_LIMIT, Keeping
from deployd.drone.problem import Outage
from deployd.errors import Refused
from deployd.processes.exits import Exit
from deployd.wire.keeping import Held
from tests.keeper.house import FIRST_PID, Turns, launch
from tests.keeper.links import LinkHouse

LOST = Exit(None, None)


class KeepingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = LinkHouse(Turns())
        self.keeping = self.link.keeping
        self.exits: dict[str, list[Exit]] = {}
        self.link.begin()

    def hear(self, id: str) -> list[Exit]:
        return self.exits.setdefault(id, [])

    def start(self, id: str = "http-1", **changes: object) -> Deferred[Held]:
        started = self.keeping.start(launch(id, **changes), self.hear(id).append)
        self.link.wait()
        return started

    def started(self, id: str = "http-1", **changes: object) -> Held:
        return self.successResultOf(self.start(id, **changes))

    def next_life(self) -> None:
        """kill -9 of the drone, and its next start."""
        self.link.door.cut()
        self.leaving = Deferred.fromCoroutine(self.keeping.leave())
        self.keeping = self.link.keeping = Keeping(self.link.clock, self.link.door, self.link.clock.seconds)
        self.exits.clear()
        self.link.begin()


class StartTests(KeepingCase):
    def test_a_keeper_is_started_where_there_is_none(self) -> None:
        self.assertEqual(self.link.door.launched, 1)
        self.assertGreater(self.keeping.pid, 0)

    def test_a_start_is_the_keepers(self) -> None:
        held = self.started()
        self.assertEqual((held.id, held.pid), ("http-1", FIRST_PID))
        self.assertEqual(list(self.keeping.held()), [held])

    def test_what_the_keeper_refuses_is_refused(self) -> None:
        self.link.house.spawner.refuse = "web cannot be started"
        self.assertEqual(str(self.failureResultOf(self.start(), Refused).value), "web cannot be started")

    def test_hundreds_of_starts_at_once_are_all_made(self) -> None:
        starts = [self.keeping.start(launch(f"a-{n:03}"), print) for n in range(300)]
        self.link.wait(1)
        self.assertEqual({self.successResultOf(start).id for start in starts}, {f"a-{n:03}" for n in range(300)})

    def test_a_start_without_a_keeper_is_an_outage(self) -> None:
        self.link.door.broken = True
        self.link.door.die()
        self.failureResultOf(self.start(), Outage)


class EndTests(KeepingCase):
    def test_an_end_is_heard_once(self) -> None:
        self.started()
        self.assertEqual(self.hear("http-1"), [])
        self.link.house.spawner.end(code=3)
        self.link.wait(1)
        self.assertEqual(self.hear("http-1"), [Exit(3)])
        (held,) = self.keeping.held()
        self.assertEqual(held.code, 3)

    def test_many_ends_at_once_are_all_heard(self) -> None:
        for number in range(100):
            self.started(f"a-{number}")
        for number in range(100):
            self.link.house.spawner.end(number, signal=9)
        self.link.wait(1)
        self.assertEqual([self.exits[f"a-{number}"] for number in range(100)], [[Exit(None, 9)]] * 100)

    def test_what_is_forgotten_is_not_held_any_more_by_anybody(self) -> None:
        self.started()
        self.link.house.spawner.end()
        self.link.wait(1)
        self.keeping.forget("http-1")
        self.link.wait()
        self.assertEqual((list(self.keeping.held()), list(self.link.house.keeper)), ([], []))

    def test_what_is_forgotten_while_it_runs_goes_with_its_end(self) -> None:
        self.started()
        self.keeping.forget("http-1")
        self.link.house.spawner.end()
        self.link.wait(1)
        self.assertEqual(self.hear("http-1"), [])
        self.assertEqual((list(self.keeping.held()), list(self.link.house.keeper)), ([], []))

    def test_hundreds_are_forgotten_at_once(self) -> None:
        for number in range(300):
            self.started(f"a-{number}")
            self.link.house.spawner.end()
        self.link.wait(1)
        for number in range(300):
            self.keeping.forget(f"a-{number}")
        self.link.wait(1)
        self.assertEqual(list(self.link.house.keeper), [])

    def test_a_start_after_an_end_is_heard_of_anew(self) -> None:
        self.started()
        self.link.house.spawner.end(code=1)
        self.link.wait(1)
        self.keeping.forget("http-1")
        self.started()
        self.link.house.spawner.end(code=2)
        self.link.wait(1)
        self.assertEqual(self.hear("http-1"), [Exit(1), Exit(2)])


class TakeOverTests(KeepingCase):
    def test_what_runs_is_taken_over_and_its_end_is_heard(self) -> None:
        before = self.started()
        self.next_life()
        self.assertEqual(self.keeping.take_over("http-1", self.hear("http-1").append), before)
        self.link.house.spawner.end(code=3)
        self.link.wait(1)
        self.assertEqual(self.hear("http-1"), [Exit(3)])

    def test_what_ended_meanwhile_says_so_itself(self) -> None:
        self.started()
        self.link.door.cut()
        self.link.house.spawner.end(code=3)
        self.link.house.wait(1)
        self.next_life()
        held = self.keeping.take_over("http-1", self.hear("http-1").append)
        self.link.wait(1)
        assert held is not None
        self.assertEqual((held.code, held.ended > 0, self.hear("http-1")), (3, True, []))

    def test_what_nobody_has_started_is_not_there(self) -> None:
        self.assertIsNone(self.keeping.take_over("http-1", print))

    def test_hundreds_are_listed(self) -> None:
        for number in range(250):
            self.started(f"a-{number}")
        self.next_life()
        self.assertEqual(len(list(self.keeping.held())), 250)


class BrokenLinkTests(KeepingCase):
    def test_a_broken_link_is_made_anew_and_nothing_is_lost(self) -> None:
        self.started("a")
        self.started("b")
        self.link.door.cut()
        self.link.house.spawner.end(0, code=7)
        self.link.wait(1)
        self.assertEqual(self.exits, {"a": [Exit(7)], "b": []})
        self.assertEqual(self.link.door.launched, 1)
        self.link.house.spawner.end(1, code=8)
        self.link.wait(1)
        self.assertEqual(self.exits["b"], [Exit(8)])

    def test_a_start_whose_answer_was_lost_is_found(self) -> None:
        started = self.keeping.start(launch(), self.hear("http-1").append)
        ((pump, _),) = self.link.door.pumps
        pump.server.dataReceived(pump.clientIO.getOutBuffer())
        pump.serverIO.getOutBuffer()
        self.link.door.cut()
        self.link.wait(1)
        self.assertEqual(self.successResultOf(started).pid, FIRST_PID)
        self.link.house.spawner.end(code=4)
        self.link.wait(1)
        self.assertEqual(self.hear("http-1"), [Exit(4)])

    def test_a_start_that_did_not_reach_the_keeper_is_an_outage(self) -> None:
        started = self.keeping.start(launch(), self.hear("http-1").append)
        ((pump, _),) = self.link.door.pumps
        pump.clientIO.getOutBuffer()
        self.link.door.cut()
        self.link.wait(1)
        self.failureResultOf(started, Outage)
        self.assertEqual(list(self.link.house.keeper), [])

    def test_a_keeper_that_does_not_answer_is_an_outage_in_time_and_starts_nothing_later(self) -> None:
        pumps, self.link.door.pumps = self.link.door.pumps, []
        started = self.keeping.start(launch(), self.hear("http-1").append)
        self.link.door.deaf = True
        self.link.wait(2 * START_LIMIT + 1)
        self.failureResultOf(started, Outage)
        for pump, _ in pumps:
            pump.flush()
        self.assertEqual(list(self.link.house.keeper), [])

    def test_a_start_that_the_keeper_meets_too_late_is_an_outage(self) -> None:
        started = self.keeping.start(launch(), self.hear("http-1").append)
        self.link.clock.advance(CERTAIN + 0.5)
        self.link.wait()
        self.failureResultOf(started, Outage)
        self.assertEqual(list(self.link.house.keeper), [])

    def test_what_is_owed_is_paid_when_the_link_is_back(self) -> None:
        self.started()
        self.link.house.spawner.end()
        self.link.wait(1)
        self.link.door.cut()
        self.keeping.forget("http-1")
        self.keeping.unlisten("http-1")
        self.link.wait(1)
        self.assertEqual(list(self.link.house.keeper), [])


class RemarkTests(KeepingCase):
    def test_many_remarks_are_all_written_in_their_order(self) -> None:
        for number in range(REMARKS):
            self.keeping.remark("web/v1/a", f"remark {number}")
        self.link.wait(1)
        self.assertEqual(self.link.house.relay.said, [("web/v1/a", f"remark {number}") for number in range(REMARKS)])

    def test_those_that_wait_for_a_keeper_are_bounded_and_the_newest_are_kept(self) -> None:
        self.link.door.cut()
        for number in range(REMARKS + 1):
            self.keeping.remark("web/v1/a", f"remark {number}")
        self.link.wait(STEADY)
        said = self.link.house.relay.said
        self.assertEqual((len(said), said[0][1], said[-1][1]), (REMARKS, "remark 1", f"remark {REMARKS}"))

    def test_an_older_keeper_that_knows_none_is_passed_over(self) -> None:
        def unknown(log: str, words: str) -> None:
            raise RuntimeError

        self.link.house.keeper.remark = unknown  # type: ignore[method-assign]
        with capturedLogs() as events:
            self.keeping.remark("web/v1/a", "ended")
            self.link.wait(1)
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual([event for event in events if "remark" in str(event.get("log_format"))], [])
        self.started()


class DeadKeeperTests(KeepingCase):
    def test_a_dead_keeper_is_told_once_to_all_that_ran_and_a_new_one_is_there(self) -> None:
        self.started("a")
        self.started("b")
        self.link.house.spawner.end(1, code=1)
        self.link.wait(1)
        self.link.door.die()
        self.link.wait(1)
        self.assertEqual(self.exits, {"a": [LOST], "b": [Exit(1)]})
        self.assertEqual(self.link.door.launched, 2)
        self.started("a")
        self.link.house.spawner.end(code=5)
        self.link.wait(1)
        self.assertEqual(self.exits["a"], [LOST, Exit(5)])

    def test_one_that_fails_at_an_end_keeps_nobody_from_another(self) -> None:
        def fail(how: Exit) -> None:
            raise ZeroDivisionError

        self.keeping.start(launch("a"), fail)
        self.started("b")
        self.link.door.die()
        self.link.wait(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.exits["b"], [LOST])
        self.started("b")

    def test_the_end_is_told_before_a_new_keeper_is_there(self) -> None:
        self.started("a")
        self.link.wait(STEADY)
        self.link.door.broken = True
        self.link.door.die()
        self.link.wait(FIRST_PAUSE)
        self.assertEqual(self.exits["a"], [LOST])

    def test_keepers_that_end_at_once_are_started_ever_more_rarely(self) -> None:
        self.link.door.broken = True
        self.link.door.die()
        self.link.wait(60)
        self.assertTrue(8 < self.link.door.launched < 30, self.link.door.launched)
        self.link.door.broken = False
        self.link.wait(6)
        self.started()


class QuitTests(KeepingCase):
    def test_the_keeper_ends_with_the_drone(self) -> None:
        quitting = Deferred.fromCoroutine(self.keeping.quit())
        self.link.wait(1)
        self.successResultOf(quitting)
        self.assertEqual(self.link.house.finished, 1)

    def test_one_that_is_being_started_ends_too(self) -> None:
        self.link.wait(STEADY)
        self.link.door.die()
        self.link.wait(0)
        self.assertIsNone(self.keeping._link.peer)
        quitting = Deferred.fromCoroutine(self.keeping.quit())
        self.link.wait(1)
        self.successResultOf(quitting)
        self.assertEqual((self.link.door.launched, self.link.house.finished), (2, 1))

    def test_without_one_the_drone_does_not_wait_for_long(self) -> None:
        self.link.wait(STEADY)
        self.link.door.broken = True
        self.link.door.die()
        self.link.wait(0)
        quitting = Deferred.fromCoroutine(self.keeping.quit())
        self.link.wait(GOODBYE + 0.5)
        self.successResultOf(quitting)

    def test_it_stays_while_something_runs(self) -> None:
        self.started()
        quitting = Deferred.fromCoroutine(self.keeping.quit())
        self.link.wait(1)
        self.successResultOf(quitting)
        self.assertEqual(self.link.house.finished, 0)

    def test_a_drone_that_leaves_does_not_come_back(self) -> None:
        self.started()
        leaving = Deferred.fromCoroutine(self.keeping.leave())
        self.link.wait(10)
        self.successResultOf(leaving)
        self.assertEqual((self.link.house.finished, self.hear("http-1")), (0, []))
        self.assertEqual(len(self.link.door.sessions.open), 0)

    def test_whoever_is_told_of_the_list_may_leave_there_and_then(self) -> None:
        link = LinkHouse(Turns())
        left = link.keeping.begin().addCallback(lambda _: Deferred.fromCoroutine(link.keeping.leave()))
        link.wait(0.2)
        self.successResultOf(left)
