"""What a start takes and gives, before and after the kernel's part (tests/integration has that)."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.processes.spawning import HIGHEST, Program, Spawned, Spawner, _Limits, _resolved
from tests.keeper.house import FIRST_PID, descriptors


class Heard(ProcessProtocol):
    def __init__(self) -> None:
        self.ends: list[object] = []
        self.closed: list[object] = []

    def processExited(self, reason: Failure) -> None:
        self.ends.append(reason.value)

    def processEnded(self, reason: Failure) -> None:
        self.closed.append(reason.value)


class TransportTests(SynchronousTestCase):
    def ended(self, status: int) -> object:
        protocol = Heard()
        transport = Spawned(protocol, FIRST_PID)
        protocol.makeConnection(transport)
        transport.ended(status)
        self.assertEqual(len(protocol.ends), 1)
        self.assertEqual(protocol.ends, protocol.closed)
        with self.assertRaises(ProcessExitedAlready):
            transport.signalProcess("KILL")
        return protocol.ends[0]

    def test_success_is_done(self) -> None:
        self.assertIsInstance(self.ended(0), ProcessDone)

    def test_a_code_and_a_signal_are_told_apart(self) -> None:
        for status, code, number in ((3 << 8, 3, None), (signal.SIGKILL, None, 9), (signal.SIGSEGV | 0x80, None, 11)):
            error = self.ended(status)
            assert isinstance(error, ProcessTerminated)
            self.assertEqual((error.exitCode, error.signal), (code, number))

    def test_a_signal_to_nobody_is_an_error(self) -> None:
        with self.assertRaises(ProcessLookupError):
            Spawned(Heard(), FIRST_PID).signalProcess(signal.SIGTERM)


class ResolvingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        for name, mode in (("bin/web", 0o755), ("bin/plain", 0o644), ("usr/plain", 0o755), ("tool", 0o755)):
            file = self.top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            file.chmod(mode)
        (self.top / "bin" / "directory").mkdir()

    def resolved(self, name: str) -> str:
        path = _resolved(name, f"bin:{self.top}/usr:", str(self.top))
        return str(Path(path).relative_to(self.top))

    def test_a_path_counts_from_the_apps_directory(self) -> None:
        self.assertEqual(self.resolved("web"), "bin/web")
        self.assertEqual(self.resolved("tool"), "tool")
        self.assertEqual(self.resolved("./tool"), "tool")

    def test_what_cannot_be_run_is_passed_over(self) -> None:
        self.assertEqual(self.resolved("plain"), "usr/plain")

    def test_what_is_not_there_is_refused_with_the_path(self) -> None:
        for name in ("directory", "absent", ""):
            error = self.assertRaises(Refused, self.resolved, name)
            self.assertIn(f"command not found on this drone (PATH bin:{self.top}/usr:)", str(error))


class LimitTests(SynchronousTestCase):
    def test_limits_are_this_processs_own_for_a_moment(self) -> None:
        before = [resource.getrlimit(kind) for kind in (resource.RLIMIT_RTTIME, resource.RLIMIT_NOFILE)]
        with contextlib.suppress(KeyError), _Limits(2**62 + 5, before[1][0] - 1):
            self.assertEqual(resource.getrlimit(resource.RLIMIT_RTTIME)[0], 2**62 + 5)
            self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE)[0], before[1][0] - 1)
            raise KeyError
        after = [resource.getrlimit(kind) for kind in (resource.RLIMIT_RTTIME, resource.RLIMIT_NOFILE)]
        self.assertEqual(after, before)


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.before = descriptors()
        self.spawner = Spawner(self.expect, contextlib.nullcontext())

    def expect(self, *_: object) -> None:
        self.fail("nothing was to be started")

    def refused(self, *argv: str, cwd: str = "/", env: dict[str, str] | None = None) -> str:
        program = Program(argv, {"PATH": "/bin:/usr/bin"} | (env or {}), cwd, (0, 1, 2))
        return str(self.assertRaises(Refused, self.spawner.spawn, Heard(), program))

    def test_refusals_are_sentences_and_leave_everything_as_it_was(self) -> None:
        here = Path.cwd()
        self.assertIn("cannot run anything in /no/such/place: no such file", self.refused("true", cwd="/no/such/place"))
        self.assertIn("a NUL", self.refused("true", "a\0b"))
        self.assertIn("a NUL", self.refused("true", cwd="/\0"))
        self.assertIn("or a =", self.refused("true", env={"A=B": "c"}))
        self.assertIn("too long", self.refused("true", "x" * 3_000_000))
        self.assertIn("command not found", self.refused())
        self.assertEqual(str(here.stat().st_ino), str(Path.cwd().stat().st_ino))
        self.spawner.close()
        self.assertEqual(descriptors(), self.before)

    def test_its_own_descriptors_are_none_that_a_process_gets(self) -> None:
        own = {int(fd) for fd in descriptors() - self.before}
        self.assertGreaterEqual(min(own), HIGHEST)
        self.assertTrue(all(not os.get_inheritable(fd) for fd in own))
        self.spawner.close()
