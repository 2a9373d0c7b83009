"""Many instances save at once, and the disk is asked once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.journal import Journal
from deployd.drone.life import Life
from deployd.drone.saving import Saving
from deployd.errors import Refused
from deployd.model.revision import Revision
from tests.drone.house import line


class SavingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.journal = Journal(self.path)
        self.addCleanup(self.journal.close)
        self.journal.take(Revision("e", 1), [line(f"role{number}") for number in range(500)])
        self.written: list[str] = []
        self.thread: list[Callable[[], None]] = []
        self.saving = Saving(self.clock, self.journal, self.in_thread)

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """A thread that does what it is told when the test says ``disk``."""
        done: Deferred[Any] = Deferred()
        self.written.append(function.__name__)
        self.thread.append(lambda: maybeDeferred(function, *arguments).chainDeferred(done) or None)
        return done

    def disk(self) -> None:
        waiting, self.thread = self.thread, []
        for work in waiting:
            work()

    def pids(self) -> set[int]:
        return {entry.life.pid for entry in self.journal.read().entries} - {0}

    def test_what_is_saved_in_one_turn_is_one_transaction(self) -> None:
        saved = [self.saving.save(f"role{number}-v1", Life(pid=number + 1)) for number in range(500)]
        self.clock.advance(0)
        self.assertEqual(self.written, ["save"])
        for each in saved:
            self.assertNoResult(each)
        self.disk()
        for each in saved:
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual(len(self.pids()), 500)

    def test_what_is_saved_while_the_disk_works_is_the_next_transaction_and_the_newest_counts(self) -> None:
        first = self.saving.save("role1-v1", Life(pid=1))
        self.clock.advance(0)
        second, third = self.saving.save("role1-v1", Life(pid=2)), self.saving.save("role1-v1", Life(pid=3))
        self.clock.advance(1)
        self.assertEqual(self.written, ["save"])
        self.disk()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.clock.advance(0)
        self.disk()
        self.successResultOf(second)
        self.successResultOf(third)
        self.assertEqual((self.written, self.pids()), (["save", "save"], {3}))

    def test_all_else_is_written_after_what_was_saved_before_it(self) -> None:
        self.saving.save("role1-v1", Life(pid=1))
        self.saving.forget("role1-v1", Revision("e", 1))
        self.assertEqual(self.written, ["save", "forget"])
        self.clock.advance(0)
        self.disk()
        self.assertEqual(self.written, ["save", "forget"])
        self.assertEqual(self.pids(), set())

    def test_who_cannot_be_saved_hears_of_it_and_the_next_one_is_tried(self) -> None:
        saved = self.saving.save("role1-v1", Life(pid=1))
        self.clock.advance(0)
        self.journal.close()
        self.disk()
        self.failureResultOf(saved, Refused)
        self.journal._database.open()
        again = self.saving.save("role1-v1", Life(pid=2))
        self.clock.advance(0)
        self.disk()
        self.successResultOf(again)

    def test_who_waits_no_more_disturbs_nobody(self) -> None:
        one, two = self.saving.save("role1-v1", Life(pid=1)), self.saving.save("role2-v1", Life(pid=2))
        one.addErrback(lambda _: None)
        one.cancel()
        self.clock.advance(0)
        self.disk()
        self.successResultOf(two)
        self.assertEqual(self.pids(), {1, 2})
