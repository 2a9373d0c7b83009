"""Mirrors, checkouts and what is fetched ahead of a deploy."""

from __future__ import annotations

from deployd.drone.checkouts import FETCH_TIMEOUT, MAX_SPARE, SETTLE_AFTER, SPARE_TIMEOUT
from deployd.drone.prefetching import MAX_QUEUED, Prefetching
from deployd.drone.problem import Hopeless
from deployd.errors import Refused, UnknownCommit, Unreachable
from deployd.git.mirror import fetching, marks
from deployd.git.mirror.checkouts import MIRROR
from tests.drone.hub import CheckoutsTestCase
from tests.git.forge import Objects


class EnsureTests(CheckoutsTestCase):
    def test_fetches_and_checks_out(self) -> None:
        key = self.key(self.hub.commit(b"hello"))
        path = self.have(key)
        self.assertEqual((path / "app.py").read_bytes(), b"hello")
        self.assertEqual((self.checkouts.keys(), self.hub.tokens), ({key}, ["token"]))

    def test_asks_the_hub_once_however_many_wait(self) -> None:
        key = self.key(self.hub.commit())
        self.held = []
        first, second = self.checkouts.ensure(key), self.checkouts.ensure(key)
        self.assertNoResult(first)
        self.let_go()
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(self.hub.fetched), 1)

    def test_one_who_stops_waiting_takes_nothing_from_the_others(self) -> None:
        key = self.key(self.hub.commit())
        self.held = []
        first, second = self.checkouts.ensure(key), self.checkouts.ensure(key)
        first.addErrback(lambda _: None).cancel()
        self.let_go()
        self.assertTrue(self.successResultOf(second).is_dir())

    def test_releases_share_no_directory_even_of_one_commit(self) -> None:
        commit = self.hub.commit()
        paths = {self.have(self.key(commit, "v1")), self.have(self.key(commit, "v2"))}
        self.assertEqual((len(paths), self.hub.fetched), (2, [commit]))

    def test_apps_whose_names_nest_share_no_directory(self) -> None:
        commit = self.hub.commit()
        paths = [self.have(self.key(commit, app=app)) for app in ("team", "team/v1", "team/v1-" + commit)]
        for path in paths:
            self.assertEqual([entry.name for entry in path.iterdir()], ["app.py"])
        self.assertEqual(self.begin().keys(), self.checkouts.keys())

    def test_says_that_the_hub_is_away_and_gets_it_later(self) -> None:
        key = self.key(self.hub.commit())
        self.hub.away = True
        self.failureResultOf(self.checkouts.ensure(key), Unreachable)
        self.hub.away = False
        self.assertTrue(self.have(key).is_dir())

    def test_says_that_there_is_no_such_commit(self) -> None:
        self.failureResultOf(self.checkouts.ensure(self.key("0" * 40)), UnknownCommit)

    def test_a_commit_that_may_not_be_checked_out_is_hopeless(self) -> None:
        objects = Objects()
        commit = objects.commit(objects.tree(("120000", b"link", objects.blob(b"/etc/passwd"))))
        self.hub.packs[commit] = objects.pack()
        failure = self.failureResultOf(self.checkouts.ensure(self.key(commit)), Hopeless)
        self.assertIn("it is a link that leads outside", str(failure.value))
        self.assertEqual(self.checkouts.keys(), frozenset())
        self.assertEqual(fetching.commits(self.tree.mirror("webapp")), (), "nothing would ever delete it there")
        self.assertEqual(list((self.tree.mirror("webapp") / "objects" / "pack").iterdir()), [])

    def test_says_when_one_was_made_or_could_not_be(self) -> None:
        key = self.key(self.hub.commit())
        self.held = []
        self.checkouts.ensure(key)
        self.assertEqual(self.made, [])
        self.let_go()
        self.failureResultOf(self.checkouts.ensure(self.key("0" * 40)), UnknownCommit)
        self.assertEqual(self.made, [{key}, {key}])

    def test_a_disk_that_cannot_be_written_is_one_sentence(self) -> None:
        self.tree.top.mkdir()
        (self.tree.top / "checkouts").write_text("in the way")
        failure = self.failureResultOf(self.checkouts.ensure(self.key(self.hub.commit())), Refused)
        self.assertIn("cannot write the files of webapp", str(failure.value))

    def test_finds_its_checkouts_after_a_restart_without_the_hub(self) -> None:
        key = self.key(self.hub.commit(), app="team/webapp")
        path = self.have(key)
        self.hub.away = True
        self.checkouts = self.begin()
        self.assertEqual((self.checkouts.keys(), self.have(key)), ({key}, path))

    def test_makes_a_checkout_again_that_a_power_cut_may_have_hollowed(self) -> None:
        key = self.key(self.hub.commit(b"whole"))
        path = self.have(key)
        (path / "app.py").write_bytes(b"")
        marks._path(path).write_text("another boot")
        self.hub.away = True
        self.checkouts = self.begin()
        self.assertEqual((self.have(key) / "app.py").read_bytes(), b"whole")

    def test_forgets_at_a_restart_what_a_kill_left_without_a_checkout(self) -> None:
        kept, spare, left = (self.hub.commit(b"%d" % number) for number in range(3))
        self.have(self.key(kept, app="team/webapp"))
        self.spare(spare, "team/webapp")
        mirror = self.tree.mirror("team/webapp")
        self.hub.fetch(mirror, "token", left, 1.0)
        half = mirror.parent / f"{MIRROR}half"
        half.mkdir()
        self.checkouts = self.begin()
        self.assertEqual(set(fetching.commits(mirror)), {kept, spare})
        self.assertFalse(half.exists())

    def test_a_damaged_mirror_keeps_no_drone_from_starting(self) -> None:
        key = self.key(self.hub.commit())
        self.have(key)
        self.hub.fetch(self.tree.mirror("webapp"), "token", self.hub.commit(b"other"), 1.0)
        for index in (self.tree.mirror("webapp") / "objects" / "pack").glob("*.idx"):
            index.write_bytes(b"damaged")
        self.checkouts = self.begin()
        self.assertEqual(self.checkouts.keys(), {key})

    def test_lets_the_disk_catch_up_later(self) -> None:
        path = self.have(self.key(self.hub.commit()))
        self.assertTrue(marks._path(path).exists())
        self.clock.advance(SETTLE_AFTER)
        self.assertFalse(marks._path(path).exists())


class RemoveTests(CheckoutsTestCase):
    def test_deletes_the_checkout_and_its_commit(self) -> None:
        key = self.key(self.hub.commit())
        path = self.have(key)
        self.remove(key)
        self.assertEqual((path.exists(), self.checkouts.keys()), (False, frozenset()))
        self.assertFalse(fetching.has(self.tree.mirror("webapp"), key.commit))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_keeps_a_commit_that_another_release_runs(self) -> None:
        commit = self.hub.commit()
        self.have(self.key(commit, "v1"))
        self.have(self.key(commit, "v2"))
        self.remove(self.key(commit, "v1"))
        self.assertTrue(fetching.has(self.tree.mirror("webapp"), commit))

    def test_removing_what_is_not_there_is_harmless(self) -> None:
        self.remove(self.key("0" * 40))


class SpareTests(CheckoutsTestCase):
    def test_a_deploy_of_what_was_fetched_ahead_needs_no_hub(self) -> None:
        commit = self.hub.commit(b"ahead")
        self.spare(commit)
        self.hub.away = True
        path = self.have(self.key(commit))
        self.assertEqual((path / "app.py").read_bytes(), b"ahead")
        self.assertFalse(self.tree.spare("webapp", commit).exists())

    def test_waits_less_for_what_nobody_has_asked_for(self) -> None:
        self.spare(self.hub.commit(b"ahead"))
        self.have(self.key(self.hub.commit(b"deployed")))
        self.assertEqual(self.hub.timeouts, [SPARE_TIMEOUT, FETCH_TIMEOUT])

    def test_a_second_release_of_the_commit_needs_no_hub_either(self) -> None:
        commit = self.hub.commit()
        self.spare(commit)
        self.hub.away = True
        self.have(self.key(commit, "v1"))
        self.have(self.key(commit, "v2"))

    def test_keeps_the_newest_only(self) -> None:
        commits = [self.hub.commit(b"%d" % number) for number in range(MAX_SPARE + 2)]
        for commit in commits:
            self.spare(commit)
        there = [self.tree.spare("webapp", commit).is_dir() for commit in commits]
        self.assertEqual(there, [False, False] + [True] * MAX_SPARE)
        self.assertFalse(fetching.has(self.tree.mirror("webapp"), commits[0]))

    def test_an_evicted_one_that_runs_stays_in_the_mirror(self) -> None:
        first = self.hub.commit(b"first")
        self.have(self.key(first))
        for number in range(MAX_SPARE + 1):
            self.spare(self.hub.commit(b"%d" % number))
        self.assertTrue(fetching.has(self.tree.mirror("webapp"), first))

    def test_makes_none_of_what_is_here_already(self) -> None:
        commit = self.hub.commit()
        self.have(self.key(commit))
        self.spare(commit)
        self.assertFalse(self.tree.spare("webapp", commit).exists())

    def test_spares_are_found_after_a_restart(self) -> None:
        commit = self.hub.commit()
        self.spare(commit)
        self.hub.away = True
        self.checkouts = self.begin()
        self.have(self.key(commit))

    def test_a_spare_that_a_power_cut_may_have_hollowed_is_not_taken(self) -> None:
        commit = self.hub.commit(b"whole")
        self.spare(commit)
        spare = self.tree.spare("webapp", commit)
        (spare / "app.py").write_bytes(b"")
        marks._path(spare).write_text("another boot")
        self.assertEqual((self.have(self.key(commit)) / "app.py").read_bytes(), b"whole")


class PrefetchingTests(CheckoutsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.prefetching = Prefetching(self.checkouts)

    def say_made(self) -> None:
        self.prefetching.go_on()

    def add(self, commit: str, ref: str = "refs/heads/master") -> None:
        self.prefetching.add("webapp", ref, commit)

    def test_fetches_what_was_pushed(self) -> None:
        commit = self.hub.commit()
        self.add(commit)
        self.assertTrue(self.tree.spare("webapp", commit).is_dir())

    def test_drops_a_push_that_a_newer_one_of_its_branch_supersedes(self) -> None:
        first, second, third = (self.hub.commit(b"%d" % number) for number in range(3))
        self.held = []
        self.add(first)
        self.add(second)
        self.add(third)
        self.let_go()
        self.assertEqual(self.hub.fetched, [first, third])

    def test_keeps_twenty_branches_waiting_at_most(self) -> None:
        commits = [self.hub.commit(b"%d" % number) for number in range(MAX_QUEUED + 5)]
        self.held = []
        for number, commit in enumerate(commits):
            self.add(commit, f"refs/heads/{number}")
        self.let_go()
        # The first was under way when the others came.
        self.assertEqual(self.hub.fetched, [commits[0], *commits[5:]])

    def test_lets_deploys_go_first(self) -> None:
        deployed, pushed = self.hub.commit(b"deployed"), self.hub.commit(b"pushed")
        self.held = []
        self.checkouts.ensure(self.key(deployed))
        self.add(pushed)
        self.let_go()
        self.assertEqual(self.hub.fetched, [deployed, pushed])

    def test_goes_on_after_one_that_failed(self) -> None:
        self.held = []
        self.add("0" * 40, "refs/heads/broken")
        commit = self.hub.commit()
        self.add(commit)
        self.let_go()
        self.assertTrue(self.tree.spare("webapp", commit).is_dir())

    def test_a_deploy_of_what_is_being_fetched_waits_for_that(self) -> None:
        commit = self.hub.commit()
        self.held = []
        self.add(commit)
        waiting = self.checkouts.ensure(self.key(commit))
        self.let_go()
        self.assertTrue(self.successResultOf(waiting).is_dir())
        self.assertEqual(self.hub.fetched, [commit])

    def test_does_nothing_once_closed(self) -> None:
        self.prefetching.close()
        self.add(self.hub.commit())
        self.assertEqual(self.hub.fetched, [])
