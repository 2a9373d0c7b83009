"""The temporary directories of apps: one for each instance, empty at each start, and gone with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from deployd.errors import Refused
from deployd.git.disk import delete_tree

_GONE = ".gone-"


@frozen
class Scratch:
    """``TOP/ID``. Everything but ``path`` blocks, but not for long however many files an app has made: ``delete`` may
    put off what it is given."""

    top: Path
    delete: Callable[[Path], object] = delete_tree

    def path(self, id: str) -> Path:
        return self.top / id

    def make(self, id: str) -> None:
        """Make it anew; raise Refused."""
        self.remove(id)
        try:
            self.path(id).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"the directory for temporary files cannot be made: {error.strerror}") from None

    def remove(self, id: str) -> None:
        """What cannot be deleted is tried again with the next start."""
        gone = self.top / f"{_GONE}{id}-{os.urandom(4).hex()}"
        try:
            self.path(id).rename(gone)
        except OSError:
            return
        self.delete(gone)

    def left(self) -> frozenset[str]:
        """The ids that an earlier life of the drone has left one of; what a kill has left to be deleted goes."""
        found = list(self.top.iterdir()) if self.top.is_dir() else []
        for path in found:
            if path.name.startswith(_GONE):
                self.delete(path)
        return frozenset(path.name for path in found if not path.name.startswith(_GONE))
