"""What is done on disk, however an app has left it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.disk import delete_tree


def dig(top: Path, levels: int) -> None:
    """Make so many directories inside each other, beyond what a path can name."""
    inner = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=inner)
        above, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(above)
    os.close(os.open("file", os.O_CREAT, dir_fd=inner))
    os.close(inner)


class DeleteTreeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        self.top.mkdir()

    def test_no_tree_is_too_deep(self) -> None:
        for name in ("one", "two"):
            (self.top / name).mkdir()
            dig(self.top / name, sys.getrecursionlimit() + 100)
        delete_tree(self.top)
        self.assertFalse(self.top.exists())

    def test_links_lead_nowhere(self) -> None:
        outside = self.top / "outside"
        outside.mkdir()
        (outside / "precious").touch()
        tree = self.top / "tree"
        (tree / "inner").mkdir(parents=True)
        for place in (tree, tree / "inner"):
            (place / "link").symlink_to(outside)
        dig(tree / "inner", sys.getrecursionlimit() + 100)
        delete_tree(tree)
        self.assertEqual([path.name for path in self.top.iterdir()], ["outside"])
        self.assertEqual([path.name for path in outside.iterdir()], ["precious"])

    def test_what_its_owner_must_not_write_into_goes_too(self) -> None:
        (self.top / "closed" / "inner").mkdir(parents=True)
        (self.top / "closed" / "inner" / "file").touch()
        for path in (self.top / "closed" / "inner", self.top / "closed"):
            path.chmod(0o500)
        delete_tree(self.top)
        self.assertFalse(self.top.exists())

    def test_what_is_not_there_is_no_trouble(self) -> None:
        delete_tree(self.top / "absent")
