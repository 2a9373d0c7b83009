"""Groups of the kernel's, here in directories that only look like its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from deployd.errors import Refused
from deployd.model.role import Limits
from deployd.processes.cgroups import Groups
from deployd.processes.delegation import AUTO, NONE, find, read_mounts, read_own

M = 1 << 20
LIMITS = Limits(memory=64 * M, files=20, processes=10, cpu=150)

# As of a machine with both versions, and of a container that sees a part of it.
MOUNTINFO = """\
25 20 0:22 / /sys rw,nosuid - sysfs sysfs rw
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 25 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
OWN = "9:name=systemd:/\n4:memory:/docker/abc/x\n1:cpu,cpuacct:/a:b\n0::/user.slice\n"


class GroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        for name in ("memory", "pids", "cpu"):
            (self.top / name).mkdir(parents=True)
        (self.top / "cgroup.controllers").write_text("cpu io memory pids")
        self.first = Groups(1, {name: self.top / name for name in ("memory", "pids", "cpu")})
        self.second = Groups(2, dict.fromkeys(("memory", "pids", "cpu"), self.top))

    def written(self, path: Path) -> dict[str, str]:
        return {file.name: file.read_text() for file in path.iterdir()}

    def test_limits_are_written_as_version_1_has_them(self) -> None:
        self.first.make("http-1", LIMITS)
        memory = {"memory.limit_in_bytes": str(64 * M), "memory.memsw.limit_in_bytes": str(64 * M)}
        self.assertEqual(self.written(self.top / "memory" / "http-1"), memory)
        self.assertEqual(self.written(self.top / "pids" / "http-1"), {"pids.max": "10"})
        cpu = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
        self.assertEqual(self.written(self.top / "cpu" / "http-1"), cpu)

    def test_and_as_version_2_has_them(self) -> None:
        self.second.make("http-1", LIMITS)
        limits = {"memory.max": str(64 * M), "memory.swap.max": "0", "pids.max": "10", "cpu.max": "150000 100000"}
        self.assertEqual(self.written(self.top / "http-1"), limits)

    def test_what_is_not_limited_needs_no_group(self) -> None:
        self.first.make("http-1", Limits(files=20, processes=10))
        self.assertFalse((self.top / "memory" / "http-1").exists())
        argv = self.first.entered("http-1", Limits(files=20), ("web",))
        self.assertEqual(argv, ("web",))

    def test_a_command_enters_every_group_before_it_runs(self) -> None:
        self.first.make("http-1", LIMITS)
        entered = self.first.entered("http-1", LIMITS, ("/bin/sh", "-c", 'echo "$$ $1"', "sh", "a  b"))
        pid, said = subprocess.run(entered, capture_output=True, text=True, check=True).stdout.split(" ", 1)
        self.assertEqual(said, "a  b\n")
        for name in ("memory", "pids", "cpu"):
            self.assertEqual((self.top / name / "http-1" / "cgroup.procs").read_text().strip(), pid)

    def test_it_does_not_run_outside_of_them(self) -> None:
        entered = self.second.entered("http-1", LIMITS, ("echo", "free"))
        done = subprocess.run(entered, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")

    def test_only_what_is_nobodys_goes(self) -> None:
        for id in ("http-1", "http-2"):
            (self.top / id).mkdir()
        self.second.clean({"http-2"})
        self.assertEqual([path.name for path in self.top.iterdir() if path.name.startswith("http")], ["http-2"])
        self.second.remove("http-2")
        self.second.remove("http-3")
        self.assertFalse((self.top / "http-2").exists())

    def test_it_says_how_many_had_to_go_for_want_of_memory(self) -> None:
        for groups, top, file in (
            (self.first, self.top / "memory", "memory.oom_control"),
            (self.second, self.top, "memory.events"),
        ):
            self.assertEqual(groups.killed("http-1"), 0)
            (top / "http-1").mkdir()
            (top / "http-1" / file).write_text("under_oom 0\noom_kill 2\n")
            self.assertEqual(groups.killed("http-1"), 2)


class DelegationTests(SynchronousTestCase):
    def test_mounts_are_read(self) -> None:
        cpu, memory, second = read_mounts(MOUNTINFO)
        self.assertEqual((cpu.version, cpu.controllers, cpu.root), (1, {"cpu"}, "/"))
        self.assertEqual((memory.directory, memory.root), (Path("/sys/fs/cgroup/memory"), "/docker/abc"))
        self.assertEqual((second.version, second.controllers), (2, set()))

    def test_the_own_groups_are_read(self) -> None:
        own = read_own(OWN)
        self.assertEqual((own["memory"], own["cpu"], own[""]), ("/docker/abc/x", "/a:b", "/user.slice"))

    def fake(self, mountinfo: str, own: str) -> Path:
        proc = Path(self.mktemp())
        proc.mkdir()
        (proc / "mountinfo").write_text(mountinfo)
        (proc / "cgroup").write_text(own)
        return proc

    def test_where_nothing_is_mounted_there_are_none(self) -> None:
        self.assertFalse(find("deployd-1", AUTO, self.fake("25 20 0:22 / /sys rw - sysfs sysfs rw\n", "0::/\n")))
        self.assertFalse(find("deployd-1", AUTO, Path("/nowhere")))
        self.assertFalse(find("deployd-1", NONE))

    def test_the_group_of_this_process_within_what_is_mounted_is_taken(self) -> None:
        """Whose files do not appear by themselves is no hierarchy: it may not be used."""
        top = Path(self.mktemp()).absolute()
        (top / "x").mkdir(parents=True)
        proc = self.fake(f"32 25 0:28 /docker/abc {top} rw - cgroup cgroup rw,memory\n", OWN)
        self.assertFalse(find("deployd-1", AUTO, proc))
        self.assertEqual(list((top / "x").iterdir()), [])

    def second(self) -> Path:
        top = Path(self.mktemp()).absolute()
        for group in (top, top / "deployd-1"):
            group.mkdir()
            (group / "cgroup.controllers").write_text("cpu io memory\n")
            (group / "cgroup.procs").write_text("")
            (group / "cgroup.type").write_text("domain\n")
            (group / "cgroup.subtree_control").write_text("")
        return top

    def test_a_group_that_somebody_names_hands_its_controllers_down(self) -> None:
        top = self.second()
        # Files that keep the last word only are no kernel's, so they are not taken for controllers that are there.
        with self.assertRaises(Refused):
            find("deployd-1", str(top))
        for group in (top, top / "deployd-1"):
            self.assertEqual((group / "cgroup.subtree_control").read_text(), "+memory")

    def test_what_runs_in_it_moves_one_down(self) -> None:
        top = self.second()
        (top / "cgroup.procs").write_text("4194305\n")
        with self.assertRaises(Refused):
            find("deployd-1", str(top))
        self.assertEqual((top / "deployd" / "cgroup.procs").read_text(), "4194305")

    def test_one_that_is_delegated_is_taken_from_within_it_too(self) -> None:
        for own in ("/", "/drone"):
            top = self.second()
            (top / "drone").mkdir()
            try:
                os.setxattr(top, "user.delegate", b"1")
            except OSError:
                raise SkipTest("no attributes can be given to files here") from None
            proc = self.fake(f"33 25 0:29 / {top} rw - cgroup2 cgroup2 rw\n", f"0::{own}\n")
            self.assertFalse(find("deployd-1", AUTO, proc))
            self.assertEqual((top / "cgroup.subtree_control").read_text(), "+memory")
            self.assertEqual((top / "deployd-1" / "cgroup.subtree_control").read_text(), "+memory")

    def test_the_processes_of_the_whole_machine_stay_where_they_are(self) -> None:
        for file, text in (("cgroup.type", None), ("cgroup.controllers", "io")):
            top = self.second()
            (top / file).unlink() if text is None else (top / file).write_text(text)
            (top / "cgroup.procs").write_text("4194305\n")
            with self.assertRaises(Refused):
                find("deployd-1", str(top))
            self.assertFalse((top / "deployd").exists())

    def test_one_that_has_no_controllers_is_refused(self) -> None:
        top = Path(self.mktemp())
        top.mkdir()
        with self.assertRaises(Refused):
            find("deployd-1", str(top))

    def test_one_that_nobody_has_delegated_is_left_alone(self) -> None:
        top = self.second()
        proc = self.fake(f"33 25 0:29 / {top} rw - cgroup2 cgroup2 rw\n", "0::/\n")
        self.assertFalse(find("deployd-1", AUTO, proc))
        self.assertEqual((top / "cgroup.subtree_control").read_text(), "")
