"""The caches of builds keep within their budget, and a build needs room."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute

from deployd.drone.caches import key_of
from deployd.drone.problem import Hopeless
from deployd.drone.room import PLENTY, TIDY_EVERY
from deployd.planning.reconcile import CheckoutKey
from deployd.wire.keeping import Launch
from tests.drone.builds import NPM, BuildsTestCase


class BudgetTests(BuildsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.commands["npm ci"] = self.large

    def large(self, cwd: Path, launch: Launch) -> int:
        self.npm(cwd, launch)
        (cwd / "modules" / "large").write_bytes(os.urandom(1_000_000))
        return 0

    def tidy(self) -> None:
        self.clock.advance(TIDY_EVERY)

    def unused(self, count: int) -> list[Path]:
        """The caches of releases that are gone, the longest first."""
        found = []
        for number in range(1, count + 1):
            assigned = self.release(number, str(number))
            self.built(assigned)
            directory = self.caches.directory(key_of("webapp", NPM, self.path(assigned)))
            os.utime(directory.with_name(directory.name + ".done"), (number, number))
            self.builds.leave(CheckoutKey.of(assigned))
            del self.checkouts.all[CheckoutKey.of(assigned)]
            found.append(directory)
        return found

    def test_within_the_budget_what_nobody_uses_stays(self) -> None:
        (cache,) = self.unused(1)
        self.tidy()
        self.assertTrue(cache.is_dir())

    def test_beyond_it_goes_what_was_used_longest_ago(self) -> None:
        self.budget = 2_200_000
        self.begin()
        caches = self.unused(3)
        self.tidy()
        self.assertEqual([each.is_dir() for each in caches], [False, True, True])

    def test_what_was_used_again_is_young(self) -> None:
        self.budget = 2_200_000
        self.begin()
        caches = self.unused(3)
        again = self.release(4, "1")
        self.built(again)
        self.builds.leave(CheckoutKey.of(again))
        self.tidy()
        self.assertEqual([each.is_dir() for each in caches], [True, False, True])

    def test_what_a_checkout_uses_stays_also_after_a_restart(self) -> None:
        self.budget = 0
        self.begin()
        path = self.built(self.release())
        self.tidy()
        self.begin()
        self.tidy()
        self.assertTrue((path / "modules" / "content").is_file())

    def test_the_home_of_builds_counts_too(self) -> None:
        self.unused(1)
        home = self.caches.home("webapp")
        (home / "download").write_bytes(os.urandom(1_000_000))
        self.caches.measure_home("webapp")
        self.budget = 0
        self.begin()
        self.tidy()
        self.assertEqual((list(home.iterdir()), self.cached()), ([], []))
        self.built(self.release(9, "new"))

    def test_what_is_needed_while_it_goes_is_made_again(self) -> None:
        (cache,) = self.unused(1)
        held: list[Deferred[None]] = []

        def to_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            gate: Deferred[Any] = Deferred()
            held.append(gate)
            return gate.addCallback(lambda _: function(*arguments))

        self.builds._to_thread = to_thread
        (stored,) = [each for _, each in self.caches.complete_ones()]
        going = Deferred.fromCoroutine(self.builds.drop(stored, ""))
        self.builds._to_thread = execute
        waiting = self.ensure(self.release(4, "1"))
        self.assertNoResult(waiting)
        held[0].callback(None)
        self.successResultOf(going)
        self.successResultOf(waiting)
        self.assertTrue((cache / "modules" / "large").is_file())
        self.assertEqual(len(self.ran), 2)

    def test_what_a_kill_left_half_made_goes(self) -> None:
        half = self.caches.top / "webapp" / "abc"
        half.mkdir(parents=True)
        (half.parent / ".tmp-build-1").mkdir()
        (half.parent / ".gone-1").mkdir()
        self.begin()
        self.tidy()
        self.assertEqual(list(half.parent.iterdir()), [])
        self.assertEqual((len(self.swept), self.swept[0]), (2, "build-1"))

    def test_a_build_that_would_not_fit_is_refused_with_the_numbers(self) -> None:
        self.built(self.release(1, "1"))
        self.free = 500_000
        error = self.failureResultOf(self.ensure(self.release(2, "2")), Hopeless).value
        self.assertEqual(
            str(error),
            "webapp v2 needs about 1.0 MB of disk space here, where 500 kB are free; 8.0 MB are in use by releases: "
            "retire some (`deployctl retire --unused`)",
        )

    def test_where_there_is_plenty_nothing_is_measured(self) -> None:
        def measure() -> int:
            raise AssertionError("measured")

        self.free = PLENTY
        self.successResultOf(self.room.need("webapp v1", "", measure))
        self.free = PLENTY - 1
        self.failureResultOf(self.room.need("webapp v1", "", measure), AssertionError)

    def test_unused_caches_give_way_to_it(self) -> None:
        (cache,) = self.unused(1)
        self.free = 500_000
        self.failureResultOf(self.ensure(self.release(2, "2")), Hopeless)
        self.assertFalse(cache.exists())

    def test_a_cache_whose_words_cannot_be_read_counts_for_nothing(self) -> None:
        (cache,) = self.unused(1)
        done = cache.with_name(cache.name + ".done")
        for text in ("", "[]", json.dumps({"size": "x"})):
            done.write_text(text)
            self.assertEqual(list(self.caches.complete_ones()), [])
