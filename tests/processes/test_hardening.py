"""A daemon that its apps cannot read."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

# Root may read everything, so a root test run becomes somebody else first. That itself makes a process undumpable;
# an exec, as every daemon has had, makes it dumpable again, which is done by hand here.
DAEMON = """
import ctypes, os, subprocess, sys
from deployd.processes.hardening import make_undumpable
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if sys.argv[1] == "harden":
    make_undumpable()
app = subprocess.run(["/bin/cat", f"/proc/{os.getpid()}/environ"], capture_output=True, text=True)
print("read" if "beepboop" in app.stdout else app.stderr.rpartition(": ")[2].strip())
print(len(os.listdir("/proc/self/fd")) > 2)
own = subprocess.run(["/bin/cat", "/proc/self/environ"], env={"PROCESS_ID": "x"}, capture_output=True, text=True)
print(own.stdout)
"""


class MakeUndumpableTests(SynchronousTestCase):
    def outcome(self, how: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", DAEMON, how],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path), "SECRET": "beepboop"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_an_app_of_the_same_user_is_refused(self) -> None:
        """While the daemon still lists its own descriptors, and an app still reads itself."""
        self.assertEqual(self.outcome("harden"), ["Permission denied", "True", "PROCESS_ID=x\0"])

    def test_without_it_the_app_would_read_everything(self) -> None:
        """The reason for doing it, and proof that the other test can fail."""
        self.assertEqual(self.outcome("leave"), ["read", "True", "PROCESS_ID=x\0"])
