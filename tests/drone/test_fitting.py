"""Checkouts that are made anew, built in, and made only where there is room."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred

from deployd.drone import built
from deployd.drone.problem import Hopeless
from deployd.errors import Unreachable
from deployd.git.mirror import fetching
from deployd.planning.reconcile import CheckoutKey
from tests.drone.hub import CheckoutsTestCase


class AnewTests(CheckoutsTestCase):
    def anew(self, key: CheckoutKey) -> Deferred[None]:
        return self.checkouts.anew(key)

    def test_a_checkout_is_made_once_more_without_the_hub(self) -> None:
        key = self.key(self.hub.commit(b"right"))
        path = self.have(key)
        (path / "app.py").write_bytes(b"changed")
        (path / "new").mkdir()
        built.write(path, built.Built(touched=True))
        self.hub.away = True
        self.successResultOf(self.anew(key))
        self.assertEqual([(each.name, each.read_bytes()) for each in path.iterdir()], [("app.py", b"right")])
        self.assertEqual((self.checkouts.keys(), built.read(path)), ({key}, built.Built()))

    def test_one_that_cannot_be_made_is_not_there(self) -> None:
        key = self.key(self.hub.commit())
        self.have(key)
        fetching.keep(self.tree.mirror("webapp"), ())
        self.hub.away = True
        self.failureResultOf(self.anew(key), Unreachable)
        self.assertEqual(self.checkouts.keys(), frozenset())

    def test_one_that_is_removed_meanwhile_is_gone(self) -> None:
        key = self.key(self.hub.commit())
        path = self.have(key)
        self.held = []
        anew = self.anew(key)
        removed = Deferred.fromCoroutine(self.checkouts.remove(key))
        self.let_go()
        self.successResultOf(anew)
        self.successResultOf(removed)
        self.assertEqual((path.exists(), self.checkouts.keys()), (False, frozenset()))


class BuiltTests(CheckoutsTestCase):
    def test_what_is_said_of_a_build_goes_with_its_checkout(self) -> None:
        key = self.key(self.hub.commit())
        built.write(self.have(key), built.Built(done=True))
        self.remove(key)
        self.assertEqual(list(self.tree.checkout(key).parent.iterdir()), [])
        self.assertEqual(built.read(self.have(key)), built.Built())

    def test_what_a_kill_has_left_of_another_checkout_counts_for_none(self) -> None:
        for spare in (True, False):
            key = self.key(self.hub.commit(b"%d" % spare), f"v{spare + 1}")
            if spare:
                self.spare(key.commit)
            path = self.tree.checkout(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            built.write(path, built.Built(done=True))
            self.assertEqual(built.read(self.have(key)), built.Built())

    def test_what_is_said_of_nothing_is_cleaned_up(self) -> None:
        key = self.key(self.hub.commit())
        path = self.have(key)
        built.write(path, built.Built(done=True))
        built.write(path.with_name("gone"), built.Built(done=True))
        self.checkouts = self.begin()
        self.assertEqual(sorted(each.name for each in path.parent.glob(".built-*")), [f".built-{path.name}"])
        self.assertTrue(built.read(path).done)

    def test_what_cannot_be_read_is_not_trusted(self) -> None:
        path = self.have(self.key(self.hub.commit()))
        for text in ("", "[]", "{}", '{"done": true}'):
            path.with_name(f".built-{path.name}").write_text(text)
            self.assertEqual(built.read(path), built.Built(touched=True))

    def test_nobody_builds_in_what_is_deleted(self) -> None:
        key = self.key(self.hub.commit())
        self.have(key)
        self.remove(key)
        self.assertEqual(self.left, [(key, True)])

    def test_a_release_that_comes_back_meanwhile_gets_a_checkout_of_its_own(self) -> None:
        key = self.key(self.hub.commit())
        (self.have(key) / "left").touch()
        self.building = Deferred()
        removed = Deferred.fromCoroutine(self.checkouts.remove(key))
        back = self.checkouts.ensure(key)
        self.building.callback(None)
        self.successResultOf(removed)
        self.assertEqual([path.name for path in self.successResultOf(back).iterdir()], ["app.py"])
        self.assertEqual(self.checkouts.keys(), {key})


class FitTests(CheckoutsTestCase):
    """``free`` bytes are left on the disk, and what goes from it does not change that."""

    def test_a_checkout_that_does_not_fit_is_refused_with_the_numbers(self) -> None:
        key = self.key(self.hub.commit(bytes(3_000_000)))
        self.free = 2_000_000
        error = self.failureResultOf(self.checkouts.ensure(key), Hopeless).value
        self.assertEqual(
            str(error),
            "webapp v1 needs about 3.0 MB of disk space here, where 2.0 MB are free; make room on that disk",
        )
        self.assertFalse(fetching.has(self.tree.mirror("webapp"), key.commit))

    def test_what_was_too_large_is_not_fetched_again_to_be_refused(self) -> None:
        key = self.key(self.hub.commit(bytes(3_000_000)))
        self.free = 2_000_000
        for _ in range(3):
            self.failureResultOf(self.checkouts.ensure(key), Hopeless)
        self.assertEqual(self.hub.fetched, [key.commit])
        self.free = 4_000_000
        self.have(key)

    def test_it_is_refused_before_it_is_fetched_where_the_app_was_too_large_already(self) -> None:
        self.have(self.key(self.hub.commit(bytes(3_000_000)), "v9"))
        self.have(self.key(self.hub.commit(bytes(1_000_000)), "v10"))
        self.free = 500_000
        late = self.hub.commit(b"small")
        error = self.failureResultOf(self.checkouts.ensure(self.key(late, "v11")), Hopeless).value
        self.assertIn("v11 needs about 1.0 MB of disk space here, where 500 kB are free; 4.0 MB are in use", str(error))
        self.assertNotIn(late, self.hub.fetched)

    def test_what_nobody_can_estimate_is_tried(self) -> None:
        self.free = 100_000
        self.assertTrue(self.have(self.key(self.hub.commit(b"small"))).is_dir())

    def test_what_is_here_needs_no_more_room(self) -> None:
        key = self.key(self.hub.commit())
        self.have(key)
        self.free = 0
        self.have(key)

    def test_spare_checkouts_give_way_the_oldest_first(self) -> None:
        commits = [self.hub.commit(bytes([number]) * 1_000_000) for number in range(3)]
        for number, commit in enumerate(commits):
            self.spare(commit, "other" if number else "webapp")
            os.utime(self.tree.spare("other" if number else "webapp", commit), (number, number))
        self.free = 1_500_000
        self.failureResultOf(self.checkouts.ensure(self.key(self.hub.commit(bytes(3_000_000)))), Hopeless)
        there = [self.tree.spare("other" if number else "webapp", each).is_dir() for number, each in enumerate(commits)]
        self.assertEqual(there, [False, False, True])

    def test_what_is_fetched_ahead_is_not_made_where_it_does_not_fit(self) -> None:
        self.free = 1_000_000
        ahead = Deferred.fromCoroutine(self.checkouts.fetch_spare("webapp", self.hub.commit(bytes(2_000_000))))
        self.failureResultOf(ahead, Hopeless)
