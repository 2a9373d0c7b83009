"""Builds, and how they fail."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.defer import CancelledError

from deployd.drone import built
from deployd.drone.building import REMEMBERED
from deployd.drone.caches import key_of
from deployd.drone.problem import Outage
from deployd.drone.steps import AT_ONCE, SAY_EVERY, TAIL_LINES
from deployd.errors import NoAnswer
from deployd.model.role import BuildStep
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.exits import Exit
from deployd.wire.keeping import Launch
from tests.drone.builds import MAKE, NPM, BuildsTestCase
from tests.drone.house import COMMIT


class CachedTests(BuildsTestCase):
    def test_what_a_cached_step_makes_is_a_link_in_the_checkout(self) -> None:
        path = self.built(self.release(lock="a"))
        self.assertTrue((path / "modules").is_symlink())
        self.assertEqual((path / "modules" / "content").read_text(), "a")

    def test_it_runs_once_for_all_releases_with_the_same_files(self) -> None:
        first, second = self.built(self.release(1, "a")), self.built(self.release(2, "a"))
        self.assertEqual(len(self.ran), 1)
        self.assertEqual((first / "modules").resolve(), (second / "modules").resolve())

    def test_it_runs_anew_for_other_files_another_command_or_other_products(self) -> None:
        self.commands["npm i"] = self.npm
        self.built(self.release(1, "a"))
        self.built(self.release(2, "b"))
        self.built(self.release(3, "a", (evolve(NPM, command="npm i"),)))
        self.built(self.release(4, "a", (evolve(NPM, makes=("modules/content",)),)))
        self.assertEqual(len(self.ran), 4)

    def test_a_file_that_may_be_executed_is_another_one(self) -> None:
        one, other = self.release(1), self.release(2)
        (self.path(other) / "lock").chmod(0o755)
        keys = {key_of("webapp", NPM, self.path(each)).digest for each in (one, other)}
        self.assertEqual(len(keys), 2)

    def test_it_sees_nothing_but_the_files_that_it_names(self) -> None:
        seen: list[str] = []

        def look(cwd: Path, launch: Launch) -> int:
            seen.extend(str(path.relative_to(cwd)) for path in sorted(cwd.rglob("*")))
            return self.npm(cwd, launch)

        self.commands["npm ci"] = look
        self.built(self.release(steps=(evolve(NPM, cache=("lock", "sub/x")),), files={"sub/x": "1", "other": "2"}))
        self.assertEqual(seen, ["lock", "sub", "sub/x"])

    def test_its_environment_has_the_config_and_says_nothing_of_the_commit(self) -> None:
        self.built(self.release(), TOKEN="s3cret")
        (launch,) = self.ran
        self.assertEqual(launch.env["TOKEN"], "s3cret")
        self.assertLessEqual(set(launch.env), {"PATH", "HOME", "LANG", "TMPDIR", "REPO", "PROCESS_ID", "TOKEN"})
        self.assertNotIn("s3cret", repr(launch))

    def test_home_is_kept_for_the_next_and_the_temporary_directory_is_not(self) -> None:
        homes, temporary = [], []

        def look(cwd: Path, launch: Launch) -> int:
            homes.append([path.name for path in Path(launch.env["HOME"]).iterdir()])
            temporary.append([path.name for path in Path(launch.env["TMPDIR"]).iterdir()])
            (Path(launch.env["HOME"]) / "download").write_text("")
            (Path(launch.env["TMPDIR"]) / "left").write_text("")
            return self.npm(cwd, launch)

        self.commands["npm ci"] = look
        self.built(self.release(1, "a"))
        self.built(self.release(2, "b"))
        self.assertEqual((homes, temporary), ([[], ["download"]], [[], []]))
        self.assertFalse(Path(self.ran[-1].env["TMPDIR"]).exists())

    def test_a_step_that_does_not_make_what_it_should_has_failed(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: 0
        self.assertEqual(str(self.fails(self.release())), "the build did not make modules")

    def test_a_path_that_the_commit_has_itself_is_not_replaced(self) -> None:
        error = self.fails(self.release(files={"modules/own": ""}))
        self.assertEqual(
            str(error), "the build makes modules, but the commit has its own modules: it can have only one"
        )

    def test_a_file_that_the_commit_lacks_is_named(self) -> None:
        error = self.fails(self.release(steps=(evolve(NPM, cache=("yarn.lock",)),)))
        self.assertEqual(str(error), "the build's cache is kept by yarn.lock, which the commit does not have")

    def test_a_path_that_leads_out_is_refused(self) -> None:
        for name in ("../lock", "/etc/passwd", ""):
            self.fails(self.release(1, steps=(evolve(NPM, cache=(name,)),)))
            self.fails(self.release(2, steps=(evolve(NPM, makes=(name,)),)))
            self.clock.advance(REMEMBERED)

    def test_what_a_killed_drone_was_building_is_ended_though_nobody_builds_it_again(self) -> None:
        self.held = True
        self.ensure(self.release())
        (launch,) = self.ran
        self.swept.clear()
        self.begin()
        self.assertEqual(self.swept, [launch.id])

    def test_one_that_a_kill_left_half_made_is_made_anew(self) -> None:
        assigned = self.release()
        half = self.caches.directory(key_of("webapp", NPM, self.path(assigned)))
        (half / "modules").mkdir(parents=True)
        (half / "modules" / "content").write_text("half")
        self.assertEqual((self.built(assigned) / "modules" / "content").read_text(), "a")
        self.assertEqual(self.swept, [self.ran[0].id])

    def test_one_that_is_lost_is_made_again_for_a_checkout_that_was_built(self) -> None:
        assigned = self.release()
        path = self.built(assigned)
        (cache,) = self.cached()
        cache.rename(self.top / "lost")
        self.built(assigned)
        self.assertEqual((path / "modules" / "content").read_text(), "a")


class PlainTests(BuildsTestCase):
    def test_a_step_without_a_cache_runs_once_in_the_checkout(self) -> None:
        assigned = self.release(steps=(MAKE,))
        path = self.built(assigned)
        self.built(assigned)
        self.begin()
        self.built(assigned)
        self.assertEqual((path / "out").read_text(), "made")
        self.assertEqual([launch.cwd for launch in self.ran], [str(path)])

    def test_steps_run_in_order_and_see_what_was_made(self) -> None:
        def make(cwd: Path, _: Launch) -> int:
            (cwd / "out").write_text((cwd / "modules" / "content").read_text())
            return 0

        self.commands["make all"] = make
        path = self.built(self.release(lock="x", steps=(NPM, MAKE)))
        self.assertEqual((path / "out").read_text(), "x")

    def test_its_environment_says_which_release_it_is(self) -> None:
        self.built(self.release(steps=(MAKE,)), TOKEN="t", HOME="/nowhere")
        env = self.ran[0].env
        self.assertEqual(
            [env[name] for name in ("COMMIT", "RELEASE", "REPO", "TOKEN", "PATH")],
            [COMMIT, "v1", "webapp", "t", "/usr/bin:/bin"],
        )
        self.assertEqual((env["HOME"], env["PROCESS_ID"]), (str(self.caches.home("webapp")), self.ran[0].id))

    def test_each_step_runs_as_its_app_in_what_is_the_apps(self) -> None:
        self.built(self.release(steps=(NPM, MAKE)))
        self.assertEqual([launch.argv[0] for launch in self.ran], ["as webapp", "as webapp"])
        (cache,) = self.cached()
        npm, make = (launch.id for launch in self.ran)
        places = (
            f"caches/webapp/{cache.name}",
            "caches/webapp/.home",
            f"caches/webapp/.tmp-{npm}",
            f"checkouts/v1-{COMMIT}",
            "caches/webapp/.home",
            f"caches/webapp/.tmp-{make}",
        )
        self.assertEqual(self.isolation.owned, [("webapp", place) for place in places])

    def test_the_config_may_change_path(self) -> None:
        self.built(self.release(steps=(MAKE,)), PATH="/opt/node/bin:/bin")
        self.assertEqual(self.ran[0].env["PATH"], "/opt/node/bin:/bin")

    def test_a_tree_that_was_left_half_built_is_made_anew(self) -> None:
        assigned = self.release(steps=(NPM, MAKE))
        built.write(self.path(assigned), built.Built(touched=True))
        (self.path(assigned) / "half").write_text("")
        path = self.built(assigned)
        self.assertEqual(sorted(each.name for each in path.iterdir()), ["app.js", "lock", "modules", "out"])
        self.assertEqual(self.checkouts.made_anew, [CheckoutKey.of(assigned)])
        # What still runs there was ended first.
        self.assertIn(self.ran[-1].id, self.swept)

    def test_so_is_one_in_which_a_step_failed(self) -> None:
        assigned = self.release(steps=(MAKE,))
        self.commands["make all"] = lambda cwd, _: (cwd / "half").write_text("x")
        self.fails(assigned)
        self.commands["make all"] = lambda cwd, _: (cwd / "out").write_text("made") and 0
        self.clock.advance(REMEMBERED)
        self.assertFalse((self.built(assigned) / "half").exists())

    def test_a_failure_of_a_cached_step_before_leaves_the_tree(self) -> None:
        assigned = self.release(steps=(NPM, MAKE))
        self.commands["npm ci"] = lambda cwd, _: 1
        self.fails(assigned)
        self.commands["npm ci"] = self.npm
        self.clock.advance(REMEMBERED)
        self.built(assigned)
        self.assertEqual(self.checkouts.made_anew, [])

    def test_a_release_without_a_build_is_ready_at_once(self) -> None:
        self.built(self.release(steps=()))
        self.assertEqual(self.ran, [])


class FailingTests(BuildsTestCase):
    def test_says_which_command_failed_and_what_it_printed_last(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: 1
        self.output = "\n".join(str(number) for number in range(100))
        error = self.fails(self.release())
        self.assertEqual(str(error), "the build failed: `npm ci` exited with code 1")
        self.assertEqual(error.tail.splitlines(), [str(number) for number in range(100 - TAIL_LINES, 100)])

    def test_says_that_it_took_too_long(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: None
        error = self.fails(self.release(steps=(evolve(NPM, timeout=90.0),)))
        self.assertEqual(str(error), "the build failed: `npm ci` did not end within 90 s")
        self.assertEqual((error.tail, self.within), ("first\nlast", [90.0]))

    def test_a_long_command_is_cut_in_sentences(self) -> None:
        command = "echo " + "x" * 100 + "\nexit 1"
        self.commands[command] = lambda cwd, _: 1
        error = self.fails(self.release(steps=(BuildStep(command),)))
        self.assertEqual(str(error), "the build failed: `echo " + "x" * 55 + " ...` exited with code 1")

    def test_a_keeper_that_died_says_nothing_about_the_release(self) -> None:
        assigned = self.release()
        self.held = True
        waiting = self.ensure(assigned)
        self.running.pop()[1].callback(Exit(None))
        self.failureResultOf(waiting, Outage)
        self.held = False
        self.built(assigned)

    def test_nor_does_an_earlier_one_that_cannot_be_ended(self) -> None:
        self.held = True
        waiting = self.ensure(self.release())
        self.running.pop()[1].errback(NoAnswer("an earlier one does not end"))
        self.failureResultOf(waiting, Outage)

    def test_many_who_try_again_get_the_same_answer_for_a_while(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: 1
        assigned = self.release()
        for _ in range(3):
            self.fails(assigned)
        self.assertEqual(len(self.ran), 1)
        self.clock.advance(REMEMBERED)
        self.fails(assigned)
        self.assertEqual(len(self.ran), 2)

    def test_who_was_asked_to_start_afresh_tries_anew(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: 1
        assigned = self.release()
        self.fails(assigned)
        self.fails(evolve(assigned, generation=1))
        self.assertEqual(len(self.ran), 2)

    def test_so_does_one_whose_checkout_is_another(self) -> None:
        self.commands["npm ci"] = lambda cwd, _: 1
        assigned = self.release()
        self.fails(assigned)
        self.builds.leave(CheckoutKey.of(assigned))
        self.fails(assigned)
        self.assertEqual(len(self.ran), 2)


class WaitingTests(BuildsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.held = True

    def test_ten_who_wait_run_one_build(self) -> None:
        one, other = self.release(1), self.release(2)
        waiting = [self.ensure(one if number % 2 else other) for number in range(10)]
        self.assertEqual(len(self.ran), 1)
        self.end()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(len(self.ran), 1)

    def test_who_stops_waiting_ends_no_build(self) -> None:
        assigned = self.release()
        waiting = self.ensure(assigned)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.end()
        self.built(assigned)
        self.assertEqual((len(self.ran), self.cut_off), (1, []))

    def test_at_most_two_run_at_once(self) -> None:
        waiting = [self.ensure(self.release(number, str(number))) for number in range(1, 4)]
        self.assertEqual(len(self.ran), AT_ONCE)
        self.assertEqual(self.said[-1], "waiting for other builds: npm ci")
        self.end()
        self.end()
        for each in waiting:
            self.successResultOf(each)

    def test_says_how_far_it_is(self) -> None:
        self.ensure(self.release())
        self.clock.advance(SAY_EVERY)
        self.output += "\nadded 57 packages"
        self.clock.advance(SAY_EVERY)
        self.end()
        self.assertEqual(
            self.said,
            [
                "building: npm ci",
                "building: npm ci (3 s): last",
                "building: npm ci (6 s): added 57 packages",
                "building: npm ci: saving it",
            ],
        )

    def test_a_drone_that_ends_ends_its_builds(self) -> None:
        waiting = self.ensure(self.release())
        self.successResultOf(self.builds.close())
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.cut_off, ["npm ci"])
        self.failureResultOf(self.ensure(self.release(2, "b")), Outage)

    def test_nothing_builds_on_in_a_checkout_that_goes(self) -> None:
        assigned = self.release(steps=(MAKE,))
        waiting = self.ensure(assigned)
        self.successResultOf(self.builds.leave(CheckoutKey.of(assigned)))
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.cut_off, ["make all"])

    def test_what_is_made_for_a_cache_is_of_use_all_the_same(self) -> None:
        assigned = self.release()
        waiting = self.ensure(assigned)
        self.successResultOf(self.builds.leave(CheckoutKey.of(assigned)))
        self.failureResultOf(waiting, CancelledError)
        self.end()
        self.built(assigned)
        self.assertEqual((len(self.ran), self.cut_off), (1, []))
