"""Work that many wait for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.flights import Flights, Say
from deployd.errors import Refused


class FlightsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.flights: Flights[str] = Flights()
        self.begun: list[str] = []
        self.gate: Deferred[None] = Deferred()
        self.says: list[Say] = []
        self.heard: list[str] = []

    def join(self, key: str = "a") -> Deferred[None]:
        return self.flights.join(key, lambda say: self.work(key, say), self.heard.append)

    async def work(self, key: str, say: Say) -> None:
        self.begun.append(key)
        self.says.append(say)
        await self.gate

    def test_the_work_is_done_once_for_all_who_wait(self) -> None:
        waiters = [self.join() for _ in range(3)]
        self.gate.callback(None)
        for waiter in waiters:
            self.assertIsNone(self.successResultOf(waiter))
        self.assertEqual(self.begun, ["a"])

    def test_all_who_wait_get_its_failure(self) -> None:
        waiters = [self.join() for _ in range(2)]
        self.gate.errback(Refused("no"))
        for waiter in waiters:
            self.failureResultOf(waiter, Refused)

    def test_is_begun_anew_once_it_has_ended(self) -> None:
        self.gate.callback(None)
        self.successResultOf(self.join())
        self.successResultOf(self.join())
        self.assertEqual(self.begun, ["a", "a"])

    def test_keys_have_nothing_to_do_with_each_other(self) -> None:
        self.join("a")
        self.join("b")
        self.assertEqual((self.begun, self.flights.under_way()), (["a", "b"], {"a", "b"}))

    def test_goes_on_when_nobody_waits(self) -> None:
        waiter = self.join()
        waiter.cancel()
        self.failureResultOf(waiter, CancelledError)
        late = self.join()
        self.gate.callback(None)
        self.successResultOf(late)
        self.assertEqual(self.begun, ["a"])

    def test_a_failure_that_nobody_waits_for_is_no_error(self) -> None:
        self.join().addErrback(lambda _: None).cancel()
        self.gate.errback(Refused("no"))
        self.assertEqual(self.flights.under_way(), frozenset())

    def test_who_comes_late_hears_how_far_it_is(self) -> None:
        self.join()
        self.says[0]("half")
        self.join()
        self.assertEqual(self.heard, ["half", "half"])

    def test_work_that_is_ended_is_waited_for(self) -> None:
        waiter = self.join()
        self.successResultOf(self.flights.end_all())
        self.failureResultOf(waiter, CancelledError)

    def test_ending_waits_for_what_the_work_has_to_clean_up(self) -> None:
        cleaned: Deferred[None] = Deferred()

        async def work(say: Say) -> None:
            try:
                await self.gate
            finally:
                await cleaned

        waiter = self.flights.join("a", work, self.heard.append)
        ended = self.flights.end("a")
        self.assertNoResult(ended)
        self.assertNoResult(waiter)
        cleaned.callback(None)
        self.successResultOf(ended)
        self.failureResultOf(waiter, CancelledError)

    def test_ending_what_is_not_under_way_is_harmless(self) -> None:
        self.successResultOf(self.flights.end("a"))
