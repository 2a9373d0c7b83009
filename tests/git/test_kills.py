"""kill -9 at every step of a push, a keep and a checkout: what is left is the old state or the new, never between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.limits import GitLimits
from deployd.git.mirror import checkouts
from deployd.git.mirror.checking_out import checkout
from deployd.git.packs.history import History
from deployd.git.packs.store import Packs
from deployd.git.refs import read_refs
from deployd.git.repositories import Repositories
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects

_RUN = """
import io, os, sys
from pathlib import Path
from deployd.git.mirror.checking_out import checkout
from deployd.git.limits import GitLimits
from deployd.git.receiving.reception import receive
from deployd.git.repositories import Repositories
what, root, step, argument = sys.argv[1:]
root, left = Path(root), int(step)

def count(event, arguments):
    # Every step that changes a directory or opens a file for writing, seen by the interpreter itself.
    global left
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink"):
        left -= 1
        if left < 0:
            os._exit(9)

if what == "push":
    request = Path(argument).read_bytes()
    sys.addaudithook(count)
    receive(root / "webapp.git", io.BytesIO(request), GitLimits(), intent="1a")
elif what == "create":
    sys.addaudithook(count)
    Repositories(root).create("team/other")
elif what == "keep":
    sys.addaudithook(count)
    Repositories(root).keep("webapp", argument)
else:
    sys.addaudithook(count)
    checkout(root / "webapp.git", argument, root / "apps" / "v1", GitLimits())
"""


class KillTests(SynchronousTestCase):
    """Each run is a process that ends, without any clean-up, before its n-th change on disk."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.hub = Hub(self.root)
        self.tip = self.hub.pushed()

    def run_until_killed(self, what: str, step: int, argument: str = "-") -> bool:
        """Return whether it was killed."""
        done = subprocess.run(
            [sys.executable, "-c", _RUN, what, str(self.root), str(step), argument],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertIn(done.returncode, (0, 9), done.stderr)
        return done.returncode == 9

    def test_a_push_is_there_or_not(self) -> None:
        """After a clean start the branch has its old tip or the new one, which is complete, and the next push works.

        The deploy that it asks for is there when the refs have moved, and only then.
        """
        step, killed = 0, True
        while killed:
            old = read_refs(self.hub.path).values[b"refs/heads/master"].decode()
            objects = Objects()
            new = objects.commit(None, old, message=b"%d" % step)
            body = self.root / ".request"
            commands = [("refs/heads/master", old, new), (f"refs/heads/b{step}", ZERO, new)]
            caps = b"report-status atomic push-options"
            body.write_bytes(forge.push(list(commands), objects.pack(), caps, (b"deploy",)))
            killed = self.run_until_killed("push", step, str(body))
            self.hub.repositories.clean()
            refs = read_refs(self.hub.path).values
            asked = self.hub.repositories.intents("webapp")
            self.assertEqual(
                [intent.new for intent in asked], [new] if refs[b"refs/heads/master"] != old.encode() else []
            )
            self.hub.repositories.forget("webapp", "1a")
            self.assertIn(refs[b"refs/heads/master"].decode(), (old, new))
            self.assertEqual(refs[b"refs/heads/master"] == new.encode(), f"refs/heads/b{step}".encode() in refs)
            self.assertEqual([name for name in self.hub.files() if "tmp" in name or name.endswith(".lock")], [])
            with Packs(self.hub.path / "objects") as packs:
                for value in refs.values():
                    self.assertIsNotNone(History(packs).entry(bytes.fromhex(value.decode()), b"file.txt"))
            step += 1
        self.assertGreater(step, 5)

    def test_an_app_is_there_or_not(self) -> None:
        """A half-made repository is never an app."""
        step = 0
        while self.run_until_killed("create", step):
            self.hub.repositories.clean()
            self.assertIn(self.hub.repositories.apps(), (["webapp"], ["team/other", "webapp"]))
            step += 1
        self.assertEqual(self.hub.repositories.head("team/other"), None)
        self.assertGreater(step, 5)

    def test_a_kept_commit_is_kept_or_not(self) -> None:
        """And can be kept again."""
        step = 0
        while self.run_until_killed("keep", step, self.tip):
            Repositories(self.root).clean()
            self.assertEqual(self.hub.repositories.head("webapp"), self.tip)
            step += 1
        self.assertIn(b"refs/deploy/" + self.tip.encode(), read_refs(self.hub.path).values)

    def test_a_checkout_is_there_or_not(self) -> None:
        """Whole, or cleaned away."""
        step, target = 0, self.root / "apps" / "v1"
        while self.run_until_killed("checkout", step, self.tip):
            checkouts.clean(target.parent)
            if target.exists():
                self.assertEqual((target / "file.txt").read_bytes(), b"hello\n")
                checkouts.remove(target)
            elif target.parent.exists():
                self.assertEqual(list(target.parent.iterdir()), [])
            step += 1
        self.assertEqual((target / "file.txt").read_bytes(), b"hello\n")
        self.assertGreater(step, 3)
        checkout(self.hub.path, self.tip, target, GitLimits())
