"""The demo's tools: commands that are shown, signals that are noted, apps that are ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.demo_daemons import end_apps
from deployd.cli.demo_shell import Interrupts, Shell, StepFailed
from deployd.cli.demo_walk import EXAMPLE


class InterruptsTests(SynchronousTestCase):
    def test_a_signal_ends_a_wait(self) -> None:
        interrupts = Interrupts()
        interrupts.wait(0)
        interrupts._note(signal.SIGINT, None)
        with self.assertRaises(KeyboardInterrupt):
            interrupts.wait(1000)
        self.assertEqual(interrupts.count, 1)

    def test_a_signal_ends_the_command_that_runs(self) -> None:
        interrupts = Interrupts()
        ended: list[str] = []
        interrupts.also = lambda: ended.append("it")
        interrupts._note(signal.SIGTERM, None)
        self.assertEqual(ended, ["it"])


class ShellTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir(parents=True)
        self.interrupts = Interrupts()
        self.shell = Shell(self.place, self.interrupts)

    def run_shown(self, *command: str) -> tuple[str, str]:
        """What the command printed, and what the person sees."""
        with redirect_stdout(StringIO()) as seen:
            printed = self.shell.run(list(command), list(command))
        return printed, seen.getvalue()

    def test_shows_the_command_and_what_it_prints(self) -> None:
        printed, seen = self.run_shown("sh", "-c", "echo out; echo error >&2")
        self.assertEqual(printed, "out\nerror\n")
        self.assertEqual(seen, "$ sh -c 'echo out; echo error >&2'\nout\nerror\n")

    def test_a_command_that_fails_fails_the_step(self) -> None:
        with self.assertRaises(StepFailed) as raised:
            self.run_shown("sh", "-c", "exit 3")
        self.assertIn("exit code 3", str(raised.exception))

    def test_after_a_signal_nothing_is_started(self) -> None:
        self.interrupts._note(signal.SIGINT, None)
        with self.assertRaises(KeyboardInterrupt):
            self.run_shown("touch", "made")
        self.assertFalse((self.place / "made").exists())

    def test_a_command_that_a_signal_ends_is_an_interruption_not_a_failure(self) -> None:
        note = [sys.executable, "-c", "print('up', flush=True); import signal; signal.pause()"]

        class Impatient(StringIO):
            def write(inner, text: str) -> int:
                if "up" in text and "print" not in text:
                    self.interrupts._note(signal.SIGTERM, None)
                return super().write(text)

        with redirect_stdout(Impatient()), self.assertRaises(KeyboardInterrupt):
            self.shell.run(["wait"], note)

    def test_commands_see_neither_the_persons_git_nor_deployds_variables(self) -> None:
        printed, _ = self.run_shown("env")
        names = {line.partition("=")[0] for line in printed.splitlines()}
        self.assertIn("GIT_CONFIG_GLOBAL", names)
        self.assertEqual({name for name in names if name.startswith("DEPLOYD_") or name.endswith("_proxy")}, set())


class EndAppsTests(SynchronousTestCase):
    def test_only_this_clusters_apps_are_killed(self) -> None:
        registry = f"127.0.0.1:{uuid4().hex}"
        plain = {"PATH": "/usr/bin:/bin"}
        app = self.process(plain | {"DEPLOYD_REGISTRY": registry, "PROCESS_ID": "http-1"})
        shell = self.process(plain | {"DEPLOYD_REGISTRY": registry})
        other = self.process(plain | {"DEPLOYD_REGISTRY": registry + "1", "PROCESS_ID": "http-2"})
        told: list[str] = []
        self.assertEqual(end_apps(registry, told.append), 1)
        self.assertEqual(app.wait(10), -signal.SIGKILL)
        self.assertIn(str(app.pid), told[0])
        self.assertEqual((shell.poll(), other.poll()), (None, None))

    def process(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """A process that has its environment already; ended with the test."""
        process = subprocess.Popen(
            ["sh", "-c", "echo; exec sleep 1000"], env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class ExampleTests(SynchronousTestCase):
    def test_the_package_carries_the_demos_app(self) -> None:
        self.assertEqual(sorted(path.name for path in EXAMPLE.glob("*.py")), ["http.py", "say.py"])
        self.assertIn('"beep boop\\n"', (EXAMPLE / "say.py").read_text())
