"""Ending an instance, decided on a scripted tree and a clock."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection
from itertools import count
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd import errors
from deployd.processes.census import Census
from deployd.processes.ending import KILL_LIMIT, end
from deployd.processes.forest import ProcessRef

APP, CHILD, LATE = (ProcessRef(pid, "boot:1") for pid in (11, 12, 13))


class ScriptedTree:
    """Stands in for the census: its processes die of the signals that ``dies_of`` names."""

    def __init__(self, *living: ProcessRef) -> None:
        self.living = set(living)
        self.dies_of: dict[ProcessRef, set[int]] = {ref: {signal.SIGTERM, signal.SIGKILL} for ref in living}
        self.sent: list[int] = []
        self.quelled = 0
        self.on_signal: Callable[[int], object] = lambda signum: None

    def find(self, instance: str, session: object) -> Deferred[frozenset[ProcessRef]]:
        return succeed(frozenset(self.living))

    def alive(self, refs: Collection[ProcessRef]) -> Deferred[frozenset[ProcessRef]]:
        return succeed(frozenset(refs) & self.living)

    def signal(self, instance: str, session: object, signum: int) -> Deferred[frozenset[ProcessRef]]:
        found = frozenset(self.living)
        if found:
            self.sent.append(signum)
        self.living -= {ref for ref in found if signum in self.dies_of.get(ref, {signal.SIGKILL})}
        self.on_signal(signum)
        return succeed(found)

    def quell(self, instance: str, session: object) -> Deferred[None]:
        self.quelled += 1
        self.living.clear()
        return succeed(None)


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def end(self, tree: ScriptedTree, grace: float = 5.0, signum: int = signal.SIGTERM) -> Deferred[None]:
        return end(self.clock, cast(Census, tree), "http-1", 11, grace, signum)

    def pump(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def test_nothing_to_end_is_success_at_once(self) -> None:
        tree = ScriptedTree()
        self.assertIsNone(self.successResultOf(self.end(tree)))
        self.assertEqual(tree.sent, [])

    def test_an_app_that_obeys_is_not_killed(self) -> None:
        tree = ScriptedTree(APP, CHILD)
        self.assertIsNone(self.successResultOf(self.end(tree)))
        self.assertEqual(tree.sent, [signal.SIGTERM])

    def test_the_signal_is_the_callers(self) -> None:
        tree = ScriptedTree(APP)
        tree.dies_of[APP] = {signal.SIGQUIT}
        self.successResultOf(self.end(tree, signum=signal.SIGQUIT))
        self.assertEqual(tree.sent, [signal.SIGQUIT])

    def test_ends_as_soon_as_the_last_one_is_gone(self) -> None:
        tree = ScriptedTree(APP)
        tree.dies_of[APP] = {signal.SIGKILL}
        ending = self.end(tree)
        self.pump(1)
        self.assertNoResult(ending)
        tree.living.clear()
        self.pump(0.3)
        self.successResultOf(ending)
        self.assertEqual(tree.sent, [signal.SIGTERM])

    def test_what_does_not_obey_is_killed_after_its_grace_and_not_before(self) -> None:
        tree = ScriptedTree(APP, CHILD)
        tree.dies_of[CHILD] = {signal.SIGKILL}
        ending = self.end(tree)
        self.pump(4.9)
        self.assertEqual(tree.sent, [signal.SIGTERM])
        self.pump(0.2)
        self.successResultOf(ending)
        self.assertEqual(tree.sent, [signal.SIGTERM, signal.SIGKILL])

    def test_without_grace_it_is_killed_at_once(self) -> None:
        tree = ScriptedTree(APP)
        ending = self.end(tree, grace=0)
        self.pump(0.1)
        self.successResultOf(ending)
        self.assertEqual(tree.sent, [signal.SIGKILL])

    def test_what_starts_during_the_ending_is_ended_too(self) -> None:
        tree = ScriptedTree(APP)
        tree.on_signal = lambda signum: tree.living.add(LATE) if signum == signal.SIGTERM else None
        ending = self.end(tree, grace=1)
        self.pump(0.9)
        self.assertNoResult(ending)
        self.pump(0.2)
        self.successResultOf(ending)
        self.assertEqual(tree.living, set())

    def test_kills_again_while_new_ones_appear(self) -> None:
        tree = ScriptedTree(APP)
        tree.on_signal = lambda signum: tree.living.add(LATE) if tree.sent.count(signal.SIGKILL) == 1 else None
        ending = self.end(tree, grace=0)
        self.pump(0.5)
        self.successResultOf(ending)
        self.assertEqual(tree.sent, [signal.SIGKILL, signal.SIGKILL])

    def test_what_forks_while_it_is_killed_is_quelled(self) -> None:
        tree = ScriptedTree(APP)
        numbers = count(100)
        tree.on_signal = lambda signum: tree.quelled or tree.living.add(ProcessRef(next(numbers), "boot:1"))
        ending = self.end(tree, grace=0)
        self.pump(0.5)
        self.successResultOf(ending)
        self.assertEqual((tree.sent, tree.quelled), ([signal.SIGKILL] * 2, 1))

    def test_what_one_look_has_missed_is_found_by_the_next(self) -> None:
        """It forks so often that it is there no more, and its child not yet, when it is looked for."""
        tree = ScriptedTree(APP)
        numbers = count(100)
        tree.on_signal = lambda signum: len(tree.sent) > 6 or tree.living.add(ProcessRef(next(numbers), "boot:1"))
        tree.quell = lambda instance, session: succeed(tree.living.clear())  # type: ignore[method-assign]
        ending = self.end(tree, grace=0)
        self.pump(2)
        self.successResultOf(ending)
        self.assertEqual((tree.living, len(tree.sent)), (set(), 7))

    def test_what_only_takes_its_time_to_die_is_not(self) -> None:
        tree = ScriptedTree(APP, CHILD)
        tree.dies_of[APP] = set()
        ending = self.end(tree, grace=0)
        self.pump(0.5)
        tree.living.clear()
        self.pump(0.5)
        self.successResultOf(ending)
        self.assertEqual(tree.quelled, 0)

    def test_what_cannot_be_killed_is_named(self) -> None:
        tree = ScriptedTree(APP)
        tree.dies_of[APP] = set()
        ending = self.end(tree, grace=0)
        self.pump(KILL_LIMIT - 0.1)
        self.assertNoResult(ending)
        self.pump(0.5)
        error = self.failureResultOf(ending, errors.InternalError)
        self.assertIn("1 processes of http-1 do not die (pid 11)", str(error.value))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancelled_ending_leaves_no_timer(self) -> None:
        tree = ScriptedTree(APP)
        tree.dies_of[APP] = set()
        ending = self.end(tree)
        ending.cancel()
        self.failureResultOf(ending, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
