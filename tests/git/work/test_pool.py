"""A crew of workers: who is started, who does what, and what becomes of a job whose worker does not end it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.git.problems import BadRequest
from deployd.git.work.crew import ABANDONED, FIRST_DELAY, Terms
from deployd.git.work.member import END, START
from deployd.git.work.orders import Answer, Order, Unfinished
from deployd.git.work.pool import Pool
from tests.git.work.fakes import FakeLink, Forge, order


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.forge = Forge()
        self.clock = self.forge.clock
        self.pool = Pool(
            self.clock, self.forge.spawn, {"quick": Terms(workers=2, waiting=2, jobs=3, memory=1000, idle=900.0)}
        )

    def run_one(self, one: Order | None = None) -> tuple[Deferred[Answer], FakeLink]:
        """An order under way, and the new worker that has it."""
        answered = self.pool.run(one or order())
        self.forge.links[-1].ready()
        return answered, self.forge.links[-1]

    def test_a_worker_is_started_for_the_first_job_and_kept_for_the_next(self) -> None:
        answered, link = self.run_one(order(arguments={"x": 1}, body=b"body", file=7))
        self.assertEqual(link.sent, [({"job": "job", "arguments": {"x": 1}}, b"body", 7)])
        link.answer(found=2)
        self.assertEqual(self.successResultOf(answered), Answer({"found": 2}, b""))
        self.pool.run(order("next"))
        self.assertEqual((len(self.forge.links), link.jobs), (1, ["job", "next"]))

    def test_what_the_job_raises_is_raised(self) -> None:
        answered, link = self.run_one()
        link.fail("BadRequest", "it is no fetch")
        self.assertEqual(str(self.failureResultOf(answered, BadRequest).value), "it is no fetch")

    def test_notes_are_heard_before_the_end(self) -> None:
        notes: list[dict[str, object]] = []
        self.pool.run(order(), notes.append)
        link = self.forge.links[0]
        link.ready()
        link.listener.said({"note": {"size": 1}}, b"")
        self.assertEqual(notes, [{"size": 1}])

    def test_too_much_is_refused_and_nobody_waits_for_ever(self) -> None:
        waiting = [self.pool.run(order()) for _ in range(3)]
        self.failureResultOf(waiting.pop(), Busy)
        self.assertEqual(self.pool.figures()["quick_waiting"], 2)
        self.clock.pump([START] * 3)
        for one in waiting:
            self.failureResultOf(one, Busy)

    def test_a_job_that_takes_too_long_is_killed_and_its_worker_replaced(self) -> None:
        answered, link = self.run_one(order(seconds=5.0))
        self.clock.advance(5.0)
        self.assertTrue(link.killed)
        self.assertIn("longer than 5 seconds", str(self.failureResultOf(answered, Unfinished).value))
        self.pool.run(order())
        link.end()
        self.assertEqual(len(self.forge.links), 2)

    def test_a_worker_that_dies_ends_its_job_with_a_sentence(self) -> None:
        answered, link = self.run_one()
        link.end()
        self.assertIn("in the middle", str(self.failureResultOf(answered, Unfinished).value))
        self.assertEqual(self.pool.figures()["worker_restarts"], 1)

    def test_what_may_be_done_again_is_done_again_once(self) -> None:
        answered, link = self.run_one(order(again=True))
        link.end()
        self.assertNoResult(answered)
        self.clock.advance(FIRST_DELAY)
        self.assertEqual(len(self.forge.links), 2)
        self.forge.links[1].ready()
        self.assertEqual(self.forge.links[1].jobs, ["job"])
        self.forge.links[1].end()
        self.failureResultOf(answered, Unfinished)

    def test_what_has_been_heard_of_is_not_done_again(self) -> None:
        answered = self.pool.run(order(again=True), lambda note: None)
        link = self.forge.links[0]
        link.ready()
        link.listener.said({"note": {}}, b"")
        link.end()
        self.failureResultOf(answered, Unfinished)

    def test_workers_that_die_at_once_come_back_later_each_time(self) -> None:
        self.pool.run(order())
        for delay in (FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY):
            count = len(self.forge.links)
            self.forge.links[-1].end()
            self.clock.advance(delay * 0.9)
            self.assertEqual(len(self.forge.links), count)
            self.clock.advance(delay * 0.2)
            self.assertEqual(len(self.forge.links), count + 1)

    def test_no_process_left_is_tried_again(self) -> None:
        self.forge.broken = True
        self.pool.run(order())
        self.assertEqual(self.forge.links, [])
        self.forge.broken = False
        self.clock.advance(FIRST_DELAY)
        self.assertEqual(len(self.forge.links), 1)

    def test_one_that_does_not_start_is_killed(self) -> None:
        self.pool.run(order())
        self.clock.advance(START)
        self.assertTrue(self.forge.links[0].killed)

    def test_what_nobody_waits_for_is_left_out_or_killed(self) -> None:
        first, link = self.run_one()
        second, third = self.run_one(order("second"))[0], self.pool.run(order("third"))
        third.cancel()
        self.failureResultOf(third, CancelledError)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(link.killed)
        self.clock.advance(ABANDONED)
        self.assertTrue(self.forge.links[0].killed)
        self.assertNoResult(second)
        self.assertNotIn("third", self.forge.links[0].jobs + self.forge.links[1].jobs)

    def test_what_nobody_waits_for_may_end_by_itself(self) -> None:
        answered, link = self.run_one()
        answered.cancel()
        self.failureResultOf(answered, CancelledError)
        link.answer()
        self.clock.advance(ABANDONED)
        self.assertFalse(link.killed)

    def test_one_that_has_done_or_kept_much_is_replaced(self) -> None:
        _, link = self.run_one()
        link.answer(memory=2000)
        self.assertTrue(link.hung_up)
        link.end()
        self.pool.run(order())
        other = self.forge.links[1]
        other.ready()
        for _ in range(2):
            other.answer()
            self.pool.run(order())
        self.assertFalse(other.hung_up)
        other.answer()
        self.assertTrue(other.hung_up)

    def test_one_whose_job_needed_too_much_memory_is_replaced(self) -> None:
        answered, link = self.run_one()
        link.fail("memory")
        self.failureResultOf(answered, Unfinished)
        self.assertTrue(link.hung_up)

    def test_one_that_had_nothing_to_do_for_long_ends(self) -> None:
        _, link = self.run_one()
        link.answer()
        self.clock.advance(900.0)
        self.assertTrue(link.hung_up)
        self.clock.advance(END)
        self.assertTrue(link.killed)

    def test_stops_when_what_goes_on_has_ended(self) -> None:
        answered, _ = self.run_one()
        idle = self.pool.run(order("idle"))
        self.forge.links[1].ready()
        self.forge.links[1].answer()
        self.successResultOf(idle)
        stopped = self.pool.stop(10.0)
        self.failureResultOf(self.pool.run(order()), Busy)
        self.assertTrue(self.forge.links[1].hung_up)
        self.forge.links[1].end()
        self.assertNoResult(stopped)
        self.forge.links[0].answer()
        self.successResultOf(answered)
        self.forge.links[0].end()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stops_what_does_not_end(self) -> None:
        answered, link = self.run_one()
        stopped = self.pool.stop(10.0)
        self.clock.advance(10.0)
        self.assertTrue(link.killed)
        self.failureResultOf(answered, Unfinished)
        link.end()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_is_ready_before_it_is_needed(self) -> None:
        self.pool.warm("quick")
        self.pool.warm("quick")
        self.assertEqual(len(self.forge.links), 1)
