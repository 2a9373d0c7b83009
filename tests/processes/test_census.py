"""Who wants to know of processes shares a look with others."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.census import Census
from deployd.processes.trees import reference

NOBODY = "http-0123456789"


class HeldThread:
    """Runs what it was given when the test lets it."""

    def __init__(self) -> None:
        self.held: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = []
        self.runs = 0

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.held.append((function, arguments, done))
        return done

    def run(self) -> None:
        function, arguments, done = self.held.pop(0)
        self.runs += 1
        done.callback(function(*arguments))

    def fail(self, error: Exception) -> None:
        self.held.pop(0)[2].errback(error)


class CensusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.thread = HeldThread()
        self.census = Census(self.thread, lambda: ())

    def test_who_asks_alone_is_answered_at_once(self) -> None:
        asked = self.census.find(NOBODY, None)
        self.thread.run()
        self.assertEqual(self.successResultOf(asked), frozenset())

    def test_all_who_ask_during_a_look_share_the_next(self) -> None:
        first = self.census.find(NOBODY, None)
        others = [self.census.find(NOBODY, None) for _ in range(100)]
        self.assertEqual(len(self.thread.held), 1)
        self.thread.run()
        self.successResultOf(first)
        for other in others:
            self.assertNoResult(other)
        self.thread.run()
        for other in others:
            self.assertEqual(self.successResultOf(other), frozenset())
        self.assertEqual((self.thread.runs, self.thread.held), (2, []))

    def test_each_is_answered_what_he_asked(self) -> None:
        me = reference(os.getpid())
        assert me
        self.census.find(NOBODY, None)
        alive, found = self.census.alive([me]), self.census.signal(NOBODY, None, 0)
        self.thread.run()
        self.thread.run()
        self.assertEqual((self.successResultOf(alive), self.successResultOf(found)), (frozenset({me}), frozenset()))

    def test_a_look_that_fails_is_told_to_all_who_share_it_and_followed_by_the_next(self) -> None:
        first = self.census.find(NOBODY, None)
        second = self.census.find(NOBODY, None)
        self.thread.fail(OSError("no descriptors"))
        self.failureResultOf(first, OSError)
        self.thread.run()
        self.assertEqual(self.successResultOf(second), frozenset())

    def test_who_asks_no_longer_keeps_nobody_else_from_his_answer(self) -> None:
        first, second = self.census.find(NOBODY, None), self.census.find(NOBODY, None)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.thread.run()
        self.thread.run()
        self.assertEqual(self.successResultOf(second), frozenset())
