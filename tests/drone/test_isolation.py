"""How one start is put into what keeps apps apart."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from deployd.drone.isolation import FORKS, HEADROOM, Isolation
from deployd.drone.users import Users
from deployd.errors import Refused
from deployd.model.role import Limits
from deployd.processes.cgroups import Groups
from deployd.processes.exits import Exit
from deployd.wire.keeping import Launch

M = 1 << 20
LAUNCH = Launch("http-1", ("web", "-v"), {"PROCESS_ID": "http-1", "PATH": "./bin", "LD_PRELOAD": "evil.so"}, "/", "")
LIMITS = Limits(memory=64 * M, files=20, processes=3, cpu=50)


class ConfineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.top.mkdir()
        self.groups = Groups(2, dict.fromkeys(("memory", "pids", "cpu"), self.top))

    def users(self, first: int = 71000, last: int = 71001) -> Users:
        return Users(first, last, self.top)

    def test_without_limits_a_start_is_as_it_was(self) -> None:
        self.assertEqual(Isolation(self.groups).confine(LAUNCH, "webapp", Limits()), LAUNCH)
        self.assertEqual(Isolation().confine(LAUNCH, "webapp", Limits(cpu=50)), LAUNCH)

    def test_without_groups_rlimits_are_what_there_is(self) -> None:
        """The memory that a process may reserve is no limit of what it uses, and forks are counted by user."""
        launch = Isolation().confine(LAUNCH, "webapp", LIMITS)
        self.assertEqual(launch, evolve(LAUNCH, limits=Limits(64 * M + HEADROOM, 20)))

    def test_in_groups_only_files_are_left_to_rlimits(self) -> None:
        launch = Isolation(self.groups).confine(LAUNCH, "webapp", LIMITS)
        self.assertEqual(launch.limits, Limits(files=20))
        self.assertIn(str(self.top / "http-1" / "cgroup.procs"), launch.argv)
        self.assertEqual(launch.argv[-2:], ("web", "-v"))

    def test_a_check_is_counted_with_its_instance(self) -> None:
        check = evolve(LAUNCH, id="http-1.check")
        launch = Isolation(self.groups).confine(check, "webapp", LIMITS, group="http-1")
        self.assertIn(str(self.top / "http-1" / "cgroup.procs"), launch.argv)

    def test_an_app_has_a_user_of_its_own_for_good(self) -> None:
        users = self.users()
        self.assertEqual([users.of("one"), users.of("two"), users.of("one")], [71000, 71001, 71000])
        self.assertEqual(self.users().of("two"), 71001)
        with self.assertRaises(Refused) as caught:
            self.users().of("three")
        self.assertIn("no user is left for three of 71000-71001", str(caught.exception))

    def test_a_damaged_file_of_users_is_not_guessed_at(self) -> None:
        (self.top / "app-users.json").write_text("{")
        with self.assertRaises(Refused):
            self.users()

    def test_with_own_users_forks_are_bounded_by_an_rlimit_too(self) -> None:
        limits = Isolation(users=self.users()).confine(LAUNCH, "webapp", LIMITS).limits
        self.assertEqual(limits.processes, 3 * FORKS)

    def test_what_runs_as_root_has_none_of_an_apps_variables(self) -> None:
        launch = Isolation(users=self.users()).confine(LAUNCH, "webapp")
        self.assertEqual(set(launch.env), {"PROCESS_ID", "deployd_1", "deployd_2"})
        self.assertNotIn("evil.so", " ".join(launch.argv))
        programs = [word for word in launch.argv if word.endswith(("/chown", "/setpriv"))]
        self.assertTrue(all(program.startswith("/") for program in programs) and len(programs) == 2)

    def test_the_app_has_them_as_they_were(self) -> None:
        """Here as the user who runs the tests, or root would have to."""
        values = {"PROCESS_ID": "x", "A": 'it\'s "a"\n$B `id` \\', "PATH": "/usr/bin:/bin", "EMPTY": ""}
        launch = Isolation(users=self.users()).confine(evolve(LAUNCH, argv=("env", "-0"), env=values), "webapp")
        restoring = launch.argv[launch.argv.index("--no-new-privs") + 2 :]
        shown = subprocess.run(restoring, env=launch.env, capture_output=True, check=True).stdout
        found = dict(each.split("=", 1) for each in shown.decode().split("\0") if each)
        self.assertEqual({name: found.get(name) for name in values}, values)
        self.assertFalse([name for name in found if name.startswith("deployd_")])

    def test_a_tree_is_given_with_its_links_and_not_what_they_lead_to(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        outside, tree = self.top / "outside", self.top / "app" / "v1"
        (tree / "inner").mkdir(parents=True)
        outside.mkdir()
        (outside / "file").write_text("")
        (tree / "inner" / "file").write_text("")
        (tree / "inner" / "link").symlink_to(outside.absolute())
        isolation = Isolation(users=self.users())
        isolation.own("webapp", tree)
        for path in (tree, tree / "inner", tree / "inner" / "file", tree / "inner" / "link"):
            self.assertEqual((path.lstat().st_uid, path.lstat().st_gid), (71000, 71000))
        for path in (outside, outside / "file"):
            self.assertEqual(path.lstat().st_uid, 0)
        parent = tree.parent.lstat()
        self.assertEqual((parent.st_uid, parent.st_gid, parent.st_mode & 0o777), (0, 71000, 0o710))

    def test_what_an_app_puts_into_a_tree_that_is_only_half_its_own_is_not_given_to_it(self) -> None:
        """It may run already, as another release, and a kill may have come in between."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        outside, tree = self.top / "outside", self.top / "app" / "v1"
        (tree / "inner").mkdir(parents=True)
        (tree / "file").write_text("")
        outside.write_text("")
        (tree / "inner" / "planted").hardlink_to(outside)
        os.chown(tree / "inner", 71000, 71000)
        Isolation(users=self.users()).own("webapp", tree)
        self.assertEqual([path.stat().st_uid for path in (tree, tree / "file", outside)], [71000, 71000, 0])

    def test_an_end_for_want_of_memory_says_so(self) -> None:
        (self.top / "http-1").mkdir()
        (self.top / "http-1" / "memory.events").write_text("oom_kill 1\n")
        isolation, killed = Isolation(self.groups), Exit(None, 9)
        said = "used more than its 64M of memory: was ended by SIGKILL"
        self.assertEqual(isolation.cause("http-1", LIMITS, killed), said)
        for id, limits, how in (
            ("http-1", LIMITS, Exit(0)),
            ("http-2", LIMITS, killed),
            ("http-1", Limits(), killed),
        ):
            self.assertEqual(isolation.cause(id, limits, how), "")

    def test_what_is_in_force_is_said(self) -> None:
        self.assertEqual(Isolation().enforced(), ("rlimits", "watched memory and processes and disk"))
        every = Isolation(self.groups, self.users())
        self.assertEqual(
            every.enforced(), ("rlimits", "cgroups v2 (memory, pids, cpu)", "watched disk", "own users 71000-71001")
        )

    def test_a_state_directory_that_apps_cannot_get_to_is_refused(self) -> None:
        if os.geteuid() != 0:
            with self.assertRaises(Refused):
                self.users().open()
            return
        self.top.chmod(0o700)
        (self.top / "state").mkdir()
        with self.assertRaises(Refused) as caught:
            Users(1, 2, (self.top / "state").absolute()).open()
        self.assertIn("give --state-dir", str(caught.exception))
