"""The temporary directories of apps: one for each instance, empty at each start, and gone with it."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from attrs import frozen

from deployd.errors import Refused


@frozen
class Scratch:
    """``TOP/ID``. Everything but ``path`` blocks."""

    top: Path

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
        shutil.rmtree(self.path(id), ignore_errors=True)

    def clean(self, known: Collection[str]) -> None:
        """Delete those of instances that are not ``known`` any more."""
        if self.top.is_dir():
            for path in self.top.iterdir():
                if path.name not in known:
                    shutil.rmtree(path, ignore_errors=True)
