"""What jobs do beside calling one function."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.limits import GitLimits
from deployd.git.receiving.quarantine import PREFIX
from deployd.git.repositories import Repositories
from deployd.git.work.orders import Order
from deployd.git.work.values import to_json
from deployd.testing.git_worker import run_here


class ConsolidateTests(SynchronousTestCase):
    def test_what_a_killed_push_left_goes(self) -> None:
        """Also where it was the first one, so that there is nothing to consolidate."""
        repositories = Repositories(Path(self.mktemp()))
        repositories.create("webapp")
        path = repositories.path("webapp")
        left = path / "objects" / f"{PREFIX}x"
        left.mkdir()
        (left / "incoming.pack").write_bytes(b"PACK")
        order = Order(name="consolidate", arguments={"repository": str(path), "limits": to_json(GitLimits())})
        self.assertEqual(run_here(order).document, {"before": 0, "after": 0, "written": 0})
        self.assertFalse(left.exists())
