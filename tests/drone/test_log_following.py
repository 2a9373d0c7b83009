"""Waiting for what is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.log_following import MAX_WAITING, POLL, LogFollowing
from deployd.drone.log_reading import Page, Wanted
from deployd.drone.logs import LogFiles
from deployd.errors import InternalError
from tests.drone.log_files import LogWriter, told


class FollowingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.writer = LogWriter(self.top)
        self.clock = Clock()
        self.trips = 0
        self.following = LogFollowing(self.clock, self.to_thread, LogFiles(self.top))

    def to_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        self.trips += 1
        return execute(function, *arguments)

    def read(self, after: int = 0, newest: int = 0, wait: float = 10.0, role: str = "") -> Deferred[Page]:
        return Deferred.fromCoroutine(self.following.read(Wanted("webapp", role=role), after, newest, wait))

    def test_what_is_there_is_told_at_once(self) -> None:
        self.writer.say("http-a", "one")
        self.assertEqual(told(self.successResultOf(self.read())), [("http-a", "one")])

    def test_what_is_not_there_yet_is_waited_for(self) -> None:
        reading = self.read()
        self.clock.advance(POLL)
        self.assertNoResult(reading)
        self.writer.say("http-a", "one")
        self.clock.advance(POLL)
        page = self.successResultOf(reading)
        self.assertEqual((told(page), page.next), ([("http-a", "one")], self.writer.stamp))

    def test_nothing_is_told_after_the_wait(self) -> None:
        reading = self.read(after=77, wait=1.0)
        self.clock.pump([POLL] * 7)
        page = self.successResultOf(reading)
        self.assertEqual((page.data, page.next), (b"", 77))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_wait_nothing_is_told_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.read(wait=0)).data, b"")

    def test_one_look_serves_all_who_wait(self) -> None:
        readings = [self.read(role=role) for role in ("http", "say", "worker")]
        self.trips = 0
        self.clock.advance(POLL)
        self.assertEqual(self.trips, 1)
        self.writer.say("say-a", "one")
        self.clock.advance(POLL)
        self.successResultOf(readings[1])
        self.assertNoResult(readings[0])
        self.assertNoResult(readings[2])

    def test_who_asks_again_within_an_answer_waits_on(self) -> None:
        first = self.read()
        second: list[Deferred[Page]] = []
        first.addCallback(lambda page: second.append(self.read(after=page.next)))
        self.writer.say("http-a", "one")
        self.clock.advance(POLL)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.writer.say("http-a", "two")
        self.clock.advance(POLL)
        self.assertEqual(told(self.successResultOf(second[0])), [("http-a", "two")])

    def test_one_too_many_is_answered_at_once(self) -> None:
        waiting = [self.read() for _ in range(MAX_WAITING)]
        self.successResultOf(self.read())
        for reading in waiting:
            self.assertNoResult(reading)

    def test_nobody_waits_after_the_end(self) -> None:
        reading = self.read()
        self.following.close()
        self.successResultOf(reading)
        self.successResultOf(self.read())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_trouble_is_told_to_who_waits_and_no_one_else(self) -> None:
        reading = self.read()
        self.writer.say("http-a", "one")
        (segment,) = self.writer.directory("http-a").iterdir()
        segment.unlink()
        segment.mkdir()
        (segment / "x").write_text("x")
        self.clock.advance(POLL)
        self.failureResultOf(reading, InternalError)
        self.flushLoggedErrors(IsADirectoryError)
        self.assertNoResult(self.read(role="say"))
