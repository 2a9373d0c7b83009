"""Starting one process, on a spawner that the test plays."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from twisted.internet.error import ProcessDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from deployd import errors
from deployd.processes.commands import missing
from deployd.processes.exits import Exit
from deployd.processes.running import AppProcess, start
from deployd.testing.spawner import FakeProcess, FakeSpawner

ARGV = ("node", "server.js")


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.spawner = FakeSpawner()
        self.output = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, self.output)
        self.exits: list[Exit] = []

    def start(self, *argv: str) -> AppProcess:
        return start(self.spawner, argv or ARGV, {"A": "b"}, "/srv/x=y", self.output, self.exits.append)

    def fake(self) -> FakeProcess:
        return self.spawner.processes[-1]

    def test_runs_the_command_in_its_directory_and_environment(self) -> None:
        app = self.start()
        self.assertEqual(self.fake().argv, ARGV)
        self.assertEqual(self.fake().cwd, "/srv/x=y")
        self.assertEqual(self.fake().env, {"A": "b"})
        self.assertEqual(self.fake().pid, app.pid)

    def test_the_command_is_met_by_setsid_after_two_dashes(self) -> None:
        """So that words with = and leading - are taken as they are."""
        self.start("A=b", "-x", "--")
        env, chdir, setsid, dashes, *rest = self.fake().command
        self.assertEqual((Path(env).name, chdir), ("env", "--chdir=/srv/x=y"))
        self.assertEqual((Path(setsid).name, dashes), ("setsid", "--"))
        self.assertEqual(rest, ["A=b", "-x", "--"])

    def test_gives_it_one_place_for_stdout_and_stderr_and_no_stdin(self) -> None:
        """No pipe: that would break, and the app with it, when the drone ends."""
        self.start()
        fds = self.fake().child_fds
        self.assertNotEqual(fds.pop(0), self.output)
        self.assertEqual(fds, {1: self.output, 2: self.output})

    def test_the_kernels_refusal_is_one_sentence(self) -> None:
        self.spawner.refuse = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        with self.assertRaises(errors.Refused) as caught:
            self.start()
        self.assertEqual(str(caught.exception), "node cannot be started: Resource temporarily unavailable")

    def test_no_descriptor_is_left_after_a_start_or_a_refusal(self) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.start()
        self.spawner.refuse = OSError(errno.EAGAIN, "no")
        self.assertRaises(errors.Refused, self.start)
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def test_the_end_is_told_after_the_start_has_returned(self) -> None:
        """Twisted reaps a process that ended at once before spawnProcess returns."""
        self.spawner.on_start = lambda process: process.exit(125)
        app = self.start()
        self.assertEqual(self.exits, [])
        self.assertEqual(app.exit, Exit(125))
        self.spawner.advance(0)
        self.assertEqual(self.exits, [Exit(125)])

    def test_the_end_is_told_once(self) -> None:
        app = self.start()
        self.fake().exit(1)
        app.processEnded(Failure(ProcessDone(0)))
        self.assertEqual(self.exits, [Exit(1)])


class ExitTests(SynchronousTestCase):
    def test_is_told_in_words(self) -> None:
        self.assertEqual(Exit(1).text, "exited with code 1")
        self.assertEqual(Exit(0).text, "exited with code 0")
        self.assertEqual(Exit(127).text, "exited with code 127 (command not found)")
        self.assertEqual(Exit(None, signal.SIGSEGV).text, "was ended by SIGSEGV")
        self.assertEqual(Exit(None, 40).text, "was ended by signal 40")


class MissingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.checkout = Path(self.mktemp())
        self.bin = self.checkout / "bin"
        self.bin.mkdir(parents=True)

    def file(self, name: str, text: str = "#!/bin/sh\n", mode: int = 0o755) -> None:
        path = self.checkout / name
        path.write_text(text)
        path.chmod(mode)

    def missing(self, *argv: str, path: str = "/nowhere:bin") -> str | None:
        return missing(argv, {"PATH": path}, str(self.checkout))

    def test_nothing_when_the_path_has_it(self) -> None:
        """Relative entries of PATH count from the checkout, as they will when it runs."""
        self.file("bin/app")
        self.assertIsNone(self.missing("app"))
        self.assertIsNone(self.missing("./bin/app"))

    def test_a_command_that_is_nowhere(self) -> None:
        self.assertEqual(self.missing("node", "x.js"), "node: command not found on this drone (PATH /nowhere:bin)")

    def test_a_file_that_is_not_there_or_is_a_directory(self) -> None:
        self.assertEqual(self.missing("./run"), "./run: no such file on this drone")
        self.assertEqual(self.missing("./bin"), "./bin: no such file on this drone")

    def test_a_file_that_may_not_be_executed(self) -> None:
        self.file("run", mode=0o644)
        self.assertEqual(self.missing("./run"), "./run: not executable; `chmod +x` it and commit that")

    def test_the_first_that_may_be_executed_counts(self) -> None:
        (self.checkout / "other").mkdir()
        self.file("bin/app", mode=0o644)
        self.file("other/app")
        self.assertIsNone(self.missing("app", path="bin:other"))

    def test_a_script_whose_interpreter_is_not_there(self) -> None:
        self.file("run", "#! /opt/none/python3 -u\n")
        self.assertEqual(self.missing("./run"), "./run: its interpreter /opt/none/python3 is not on this drone")
        self.file("fine", "no first line\n")
        self.assertIsNone(self.missing("./fine"))

    def test_no_command_and_no_directory(self) -> None:
        self.assertEqual(self.missing(), "there is no command to run")
        self.assertIn("is not there", missing(("sh",), {}, "/nowhere/at/all") or "")
