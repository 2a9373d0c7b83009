"""Waiting for changes."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy
from deployd.hub.news import GATHERING, LONGEST_WAIT, MAX_WAITERS, News
from deployd.wire.control import AwaitChange
from tests.hub.rig import Cluster


class NewsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.news = News(self.clock, 7)

    def test_many_changes_at_once_are_one_answer(self) -> None:
        answer = self.news.wait(7, 10, self)
        self.news.bump()
        self.news.bump()
        self.assertNoResult(answer)
        self.clock.advance(GATHERING)
        self.assertEqual(self.successResultOf(answer), 9)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_whoever_is_behind_is_answered_at_once(self) -> None:
        """Also one that is ahead: its revision is of another hub."""
        for revision in (6, 8, -1):
            self.assertEqual(self.successResultOf(self.news.wait(revision, 10, self)), 7)

    def test_nothing_new_is_answered_after_the_wait_which_is_bounded(self) -> None:
        short, endless = self.news.wait(7, 2, self), self.news.wait(7, 1e9, self)
        for wait in (0, -1, float("nan")):
            self.assertEqual(self.successResultOf(self.news.wait(7, wait, self)), 7)
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(short), 7)
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual(self.successResultOf(endless), 7)

    def test_waiters_are_bounded_and_leave_with_their_connection(self) -> None:
        waiting = [self.news.wait(7, 10, "one") for _ in range(MAX_WAITERS)]
        self.failureResultOf(self.news.wait(7, 10, "other"), Busy)
        self.news.leave("one")
        self.assertEqual({self.successResultOf(answer) for answer in waiting}, {7})
        other = self.news.wait(7, 10, "other")
        self.news.close()
        self.assertEqual(self.successResultOf(other), 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AwaitChangeTests(SynchronousTestCase):
    def test_everything_desired_or_observed_is_a_change(self) -> None:
        cluster = Cluster()
        cluster.push()

        def revision() -> int:
            return int(cluster.status()["revision"]) if cluster.releases() else int(cluster.hub.news.revision)

        seen = [revision()]
        for change in (cluster.drone, cluster.deploy, lambda: cluster.drones[0].change("http", pid=2)):
            change()
            seen.append(revision())
        cluster.drones[0].leave()
        seen.append(revision())
        self.assertEqual(seen, sorted(set(seen)))
        answer = cluster.person.peer.ask(AwaitChange, {"revision": seen[-1], "wait": 10.0}, 20)
        cluster.settle()
        self.assertNoResult(answer)
        cluster.drones[0].join()
        cluster.pass_time(1)
        self.assertGreater(self.successResultOf(answer)["revision"], seen[-1])

    def test_revisions_grow_over_restarts_of_the_hub(self) -> None:
        cluster = Cluster()
        before = cluster.hub.news.revision
        cluster.restart()
        self.assertGreater(cluster.hub.news.revision, before)

    def test_a_waiter_whose_connection_is_lost_waits_no_more(self) -> None:
        cluster = Cluster()
        waiting = cluster.person.peer.ask(AwaitChange, {"revision": cluster.hub.news.revision, "wait": 30.0}, 60)
        cluster.settle()
        cluster.person.peer.transport.abortConnection()
        cluster.settle()
        self.failureResultOf(waiting)
        self.assertEqual(cluster.hub.news._waiters, [])
