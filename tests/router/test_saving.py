"""Rows on their way to the disk."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.router.belief import RowChanges
from deployd.router.saving import GATHER, RETRY, RowSaving


def row(id: str, port: int = 20000) -> Registration:
    return Registration(id, "a" * 40, "http", "10.0.0.1", port, "webapp", "v1")


class RowSavingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.saved: list[tuple[Any, ...]] = []
        self.answers: list[Deferred[None]] = []
        self.saving = RowSaving(self.clock, self.save)

    def save(self, method: str, *arguments: Any) -> Deferred[None]:
        self.assertEqual(method, "change_rows")
        self.saved.append(arguments)
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        return answer

    def change(self, number: int, put: tuple[Registration, ...] = (), gone: tuple[str, ...] = ()) -> None:
        self.saving.changed(RowChanges(put, gone), Revision("e", number))

    def test_changes_gather_and_the_newest_wins(self) -> None:
        self.change(1, (row("1"), row("2")))
        self.change(2, (row("1", 20001),), ("2", "3"))
        self.clock.advance(GATHER)
        self.assertEqual(self.saved, [((row("1", 20001),), ("2", "3"), Revision("e", 2))])

    def test_one_save_is_under_way_at_a_time(self) -> None:
        self.change(1, (row("1"),))
        self.clock.advance(GATHER)
        self.change(2, (row("2"),))
        self.clock.advance(10 * GATHER)
        self.assertEqual(len(self.saved), 1)
        self.answers[0].callback(None)
        self.clock.advance(GATHER)
        self.assertEqual(self.saved[1], ((row("2"),), (), Revision("e", 2)))

    def test_what_could_not_be_saved_is_saved_later_unless_it_has_changed(self) -> None:
        self.change(1, (row("1"), row("2")))
        self.clock.advance(GATHER)
        self.change(2, (), ("2",))
        self.answers[0].errback(Refused("the disk is full"))
        self.clock.advance(RETRY)
        self.assertEqual(self.saved[1], ((row("1"),), ("2",), Revision("e", 2)))

    def test_what_waits_is_saved_at_the_end(self) -> None:
        self.change(1, (row("1"),))
        self.clock.advance(GATHER)
        self.change(2, (row("2"),))
        closed = Deferred.fromCoroutine(self.saving.close())
        self.assertNoResult(closed)
        self.answers[0].callback(None)
        self.assertEqual(len(self.saved), 2)
        self.assertNoResult(closed)
        self.answers[1].callback(None)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_that_waits_is_nothing_to_save(self) -> None:
        self.saving = RowSaving(self.clock, lambda *_: succeed(None))
        self.successResultOf(Deferred.fromCoroutine(self.saving.close()))
        self.assertEqual(self.saved, [])
