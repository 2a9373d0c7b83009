"""An app's links lead the drone nowhere."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve

from deployd.wire.keeping import Launch
from tests.drone.builds import NPM, BuildsTestCase


class BeneathTests(BuildsTestCase):
    def test_no_link_leads_to_files_of_others(self) -> None:
        one, other = self.release(1), self.release(2, steps=(evolve(NPM, cache=("sub/lock",)),))
        secret = self.top / "secret"
        secret.write_text("s3cret")
        (self.path(one) / "lock").unlink()
        (self.path(one) / "lock").symlink_to(secret)
        (self.path(other) / "sub").symlink_to(self.top)
        (self.top / "lock").write_text("s3cret")
        self.assertEqual(str(self.fails(one)), "the build's cache cannot be kept by lock: it is a link")
        self.fails(other)
        self.assertEqual(self.ran, [])

    def test_no_link_leads_what_is_made_out_of_the_checkout(self) -> None:
        assigned = self.release(steps=(evolve(NPM, makes=("modules", "sub/content")),))

        def make(cwd: Path, launch: Launch) -> int:
            (cwd / "sub" / "content").mkdir(parents=True)
            return self.npm(cwd, launch)

        self.commands["npm ci"] = make
        (self.path(assigned) / "sub").symlink_to(self.top)
        self.assertIn("sub/content cannot be made a link in the checkout", str(self.fails(assigned)))
        self.assertFalse((self.top / "content").is_symlink())

    def test_what_is_made_may_lie_deeper(self) -> None:
        def make(cwd: Path, _: Launch) -> int:
            (cwd / "web" / "modules").mkdir(parents=True)
            return 0

        self.commands["npm ci"] = make
        path = self.built(self.release(steps=(evolve(NPM, makes=("web/modules",)),), files={"app.js": ""}))
        self.assertTrue((path / "web" / "modules").is_dir())

    def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(self) -> None:
        assigned = self.release()
        (self.path(assigned) / "lock").unlink()
        os.mkfifo(self.path(assigned) / "lock")
        self.fails(assigned)
