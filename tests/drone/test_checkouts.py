"""Mirrors, checkouts and what is fetched ahead of a deploy."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone import built, disk
from deployd.drone.checkouts import FETCH_TIMEOUT, MAX_SPARE, SETTLE_AFTER, SPARE_TIMEOUT, Checkouts, Source
from deployd.drone.disk import Tree
from deployd.drone.prefetching import MAX_QUEUED, Prefetching
from deployd.drone.problem import Hopeless
from deployd.drone.room import Room
from deployd.errors import Refused, UnknownCommit, Unreachable
from deployd.git import fetching, marks
from deployd.git.limits import GitLimits
from deployd.planning.disk import Stored
from deployd.planning.reconcile import CheckoutKey
from tests.git.forge import Objects


class Hub:
    """Has the commits that were made with it; ``fetched`` are those that somebody has asked for."""

    def __init__(self) -> None:
        self.packs: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.timeouts: list[float] = []
        self.away = False
        self.tokens: list[str] = []

    def commit(self, content: bytes = b"print()\n", name: bytes = b"app.py") -> str:
        objects = Objects()
        commit = objects.commit(objects.tree(("100644", name, objects.blob(content))))
        self.packs[commit] = objects.pack()
        return commit

    def source(self, app: str) -> Deferred[Source]:
        if self.away:
            return fail(Unreachable("the hub is away"))
        return succeed(Source(f"http://hub/{app}.git", "token"))

    def fetch(self, mirror: Path, url: str, user: str, token: str, commit: str, timeout: float) -> None:
        self.fetched.append(commit)
        self.timeouts.append(timeout)
        self.tokens.append(token)
        if commit not in self.packs:
            raise UnknownCommit(f"the hub has no commit {commit[:12]} for this drone")
        fetching.create_mirror(mirror)
        fetching._store(mirror, commit, io.BytesIO(self.packs[commit]), set(), GitLimits())


class NoCaches:
    def stored(self, holder: str) -> Deferred[list[Stored]]:
        return succeed([])

    async def drop(self, stored: Stored, holder: str) -> None:
        raise AssertionError(stored)

    async def drop_half_made(self) -> None:
        """There is none."""


class CheckoutsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub()
        self.tree = Tree(Path(self.mktemp()).absolute())
        self.held: list[Deferred[None]] | None = None
        self.made: list[frozenset[CheckoutKey]] = []
        self.left: list[tuple[CheckoutKey, bool]] = []
        self.free = 10 << 30
        self.checkouts = self.begin()

    def begin(self) -> Checkouts:
        top = self.tree.top / "checkouts"
        room = Room(Clock(), self.to_thread, top, lambda: disk.size_of(top), 0, 0, free=lambda _: (self.free, 0))
        checkouts = Checkouts(
            self.clock,
            self.tree,
            self.to_thread,
            self.hub.source,
            GitLimits(),
            room,
            self.hub.fetch,
            self.say_made,
            self.leave,
        )
        room.open(checkouts, NoCaches())
        self.addCleanup(room.close)
        checkouts.clean()
        return checkouts

    def leave(self, key: CheckoutKey) -> Deferred[None]:
        self.left.append((key, self.tree.checkout(key).is_dir()))
        return succeed(None)

    def say_made(self) -> None:
        self.made.append(self.checkouts.keys())

    def to_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """At once, unless the test holds the threads back."""
        if self.held is None:
            return execute(function, *arguments)
        gate: Deferred[Any] = Deferred()
        self.held.append(gate)
        return gate.addCallback(lambda _: function(*arguments))

    def let_go(self) -> None:
        held, self.held = self.held or [], None
        for gate in held:
            gate.callback(None)

    def key(self, commit: str, release: str = "v1", app: str = "webapp") -> CheckoutKey:
        return CheckoutKey(app, release, commit)

    def have(self, key: CheckoutKey) -> Path:
        return self.successResultOf(self.checkouts.ensure(key))

    def spare(self, commit: str, app: str = "webapp") -> None:
        self.successResultOf(Deferred.fromCoroutine(self.checkouts.fetch_spare(app, commit)))

    def remove(self, key: CheckoutKey) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.checkouts.remove(key)))


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
        self.hub.fetch(mirror, "", "drone", "token", left, 1.0)
        half = mirror.parent / f"{fetching._NEW}half"
        half.mkdir()
        self.checkouts = self.begin()
        self.assertEqual(set(fetching.commits(mirror)), {kept, spare})
        self.assertFalse(half.exists())

    def test_a_damaged_mirror_keeps_no_drone_from_starting(self) -> None:
        key = self.key(self.hub.commit())
        self.have(key)
        self.hub.fetch(self.tree.mirror("webapp"), "", "drone", "token", self.hub.commit(b"other"), 1.0)
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
        fetching.forget(self.tree.mirror("webapp"), key.commit)
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


class FitTests(CheckoutsTestCase):
    """``free`` bytes are left on the disk, and what goes from it does not change that."""

    def test_a_checkout_that_does_not_fit_is_refused_with_the_numbers(self) -> None:
        key = self.key(self.hub.commit(bytes(3_000_000)))
        self.free = 2_000_000
        error = self.failureResultOf(self.checkouts.ensure(key), Hopeless).value
        self.assertEqual(
            str(error),
            "webapp v1 needs about 3.0 MB of disk space here, where 2.0 MB are free; 0 bytes are in use by releases: "
            "retire some (`deployctl retire --unused`)",
        )
        self.assertFalse(fetching.has(self.tree.mirror("webapp"), key.commit))

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
