"""Finding and signalling the processes of an instance, on real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.trees import ProcessRef, alive, find, reference, signal_all

SLEEP = ["sleep", "60"]


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true within five seconds."""
    limit = time.monotonic() + 5
    while not condition():
        if time.monotonic() > limit:
            return False
        os.sched_yield()
    return True


def pids(refs: Collection[ProcessRef]) -> set[int]:
    return {ref.pid for ref in refs}


class TreesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.instance = f"http-{uuid4().hex[:10]}"

    def spawn(
        self, argv: list[str], *, instance: str | None = None, session: bool = True, marked: bool = True
    ) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"]} | ({"PROCESS_ID": instance or self.instance} if marked else {})
        process = subprocess.Popen(argv, env=env, start_new_session=session, stdout=subprocess.PIPE)
        self.addCleanup(self.finish, process)
        if argv[-1] == "60":
            # Popen returns amid the exec, when there is no environment to be seen yet.
            environ = Path(f"/proc/{process.pid}/environ")
            self.assertTrue(not marked or eventually(lambda: bool(environ.read_bytes())))
        return process

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        # Before its parent is gone, by which alone a child may be known.
        signal_all(find(self.instance), signal.SIGKILL)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    def child_of(self, process: subprocess.Popen[bytes]) -> int:
        """The pid that the process prints."""
        assert process.stdout
        pid = int(process.stdout.readline())
        child = reference(pid)
        assert child
        self.addCleanup(signal_all, [child], signal.SIGKILL)
        return pid

    def reference(self, process: subprocess.Popen[bytes]) -> ProcessRef:
        ref = reference(process.pid)
        assert ref
        return ref


class FindTests(TreesCase):
    def test_meets_what_bears_the_mark_and_no_other_instance(self) -> None:
        """Also one whose id begins alike."""
        mine = self.spawn(SLEEP)
        self.spawn(SLEEP, instance=self.instance + "0")
        self.assertEqual(pids(find(self.instance)), {mine.pid})

    def test_meets_descendants_without_the_mark(self) -> None:
        """A child with a cleared environment and a session of its own still has its parent."""
        parent = self.spawn(["sh", "-c", "env -i setsid sleep 60 & echo $!; wait"])
        child = self.child_of(parent)
        self.assertEqual(pids(find(self.instance)), {parent.pid, child})

    def test_meets_an_orphan_by_its_session(self) -> None:
        """Cleared environment, parent gone."""
        parent = self.spawn(["sh", "-c", "env -i sleep 60 & echo $!"])
        ref = self.reference(parent)
        child = self.child_of(parent)
        parent.wait()
        self.assertEqual(pids(find(self.instance, ref)), {child})
        signal_all(find(self.instance, ref), signal.SIGKILL)

    def test_meets_an_orphan_of_another_session_by_its_mark(self) -> None:
        parent = self.spawn(["sh", "-c", "setsid sh -c 'sleep 60 & echo $!'"])
        child = self.child_of(parent)
        parent.wait()
        self.assertEqual(pids(find(self.instance, parent.pid)), {child})

    def test_a_bare_session_number_counts_only_with_the_mark(self) -> None:
        """After a reboot the number that a journal kept may be anybody's."""
        stranger = self.spawn(SLEEP, marked=False)
        self.assertEqual(find(self.instance, stranger.pid), frozenset())
        ref = self.reference(stranger)
        self.assertEqual(find(self.instance, ref), {ref})

    def test_a_pid_used_again_is_not_the_session(self) -> None:
        stranger = self.spawn(SLEEP, marked=False)
        boot, _, ticks = self.reference(stranger).created.partition(":")
        for created in (f"{boot}:1", f"0123456789ab:{ticks}"):
            self.assertEqual(find(self.instance, ProcessRef(stranger.pid, created)), frozenset())

    def test_never_meets_itself_or_its_ancestors(self) -> None:
        """Not even when they bear the mark, as a drone that runs as somebody's app does; its children it does meet."""
        code = f"""
import os, subprocess, sys
sys.path[:0] = {sys.path!r}
from deployd.processes.trees import find, reference
child = subprocess.Popen(["sleep", "60"])
found = {{ref.pid for ref in find({self.instance!r}, reference(os.getpid()))}}
child.kill()
print(found == {{child.pid}})
"""
        shell = self.spawn(["sh", "-c", '"$0" -c "$1"; :', sys.executable, code])
        assert shell.stdout
        self.assertEqual(shell.stdout.readline(), b"True\n")

    def test_does_not_meet_the_dead(self) -> None:
        process = self.spawn(["true"])
        ref = self.reference(process)
        self.assertTrue(eventually(lambda: not find(self.instance, ref)))
        self.assertEqual(alive([ref]), frozenset())


class SignalTests(TreesCase):
    def test_reaches_every_process(self) -> None:
        processes = [self.spawn(SLEEP) for _ in range(3)]
        self.assertEqual(signal_all(find(self.instance), signal.SIGTERM), frozenset())
        self.assertEqual([process.wait(5) for process in processes], [-signal.SIGTERM] * 3)

    def test_never_hits_a_stranger_with_the_same_pid(self) -> None:
        stranger = self.spawn(SLEEP)
        boot, _, ticks = self.reference(stranger).created.partition(":")
        signal_all([ProcessRef(stranger.pid, f"{boot}:{int(ticks) - 1}")], signal.SIGKILL)
        signal_all([ProcessRef(stranger.pid, f"0123456789ab:{ticks}")], signal.SIGKILL)
        self.assertEqual(pids(find(self.instance)), {stranger.pid})

    def test_never_hits_itself_or_its_ancestors(self) -> None:
        refs = [reference(os.getpid()), reference(os.getppid())]
        signal_all([ref for ref in refs if ref], signal.SIGKILL)

    def test_what_is_gone_is_no_error(self) -> None:
        process = self.spawn(["true"])
        ref = self.reference(process)
        process.wait()
        self.assertEqual(signal_all([ref], signal.SIGTERM), frozenset())

    def test_a_name_with_brackets_is_read_right(self) -> None:
        """The kernel puts the program's name, whatever it is, amid the numbers."""
        path = self.mktemp()
        Path(path + ") S 1 1 (x").symlink_to("/bin/sleep")
        process = self.spawn([path + ") S 1 1 (x", "60"])
        self.assertEqual(find(self.instance), {self.reference(process)})


class ReferenceTests(SynchronousTestCase):
    def test_there_is_none_without_a_process(self) -> None:
        self.assertIsNone(reference(pid_max() + 1))


def pid_max() -> int:
    with open("/proc/sys/kernel/pid_max") as file:  # noqa: PTH123
        return int(file.read())
