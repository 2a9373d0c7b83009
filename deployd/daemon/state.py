"""A daemon's state directory: private, held by one process, and saying where the daemon listens."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

from deployd.errors import Refused

ADDRESSES = "addresses.json"


class StateDirectory:
    """``path``, made with mode 0700 (or ``mode``) and locked for as long as this process lives.

    The kernel drops the lock with the process, so a kill leaves nothing to clean up.
    """

    mode = 0o700

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def hold(self) -> None:
        """Make and lock the directory; raise Refused with one sentence."""
        try:
            self.path.mkdir(mode=self.mode, parents=True, exist_ok=True)
            self.path.chmod(self.mode)
            lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise Refused(f"cannot use the state directory {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Refused(f"another daemon holds the state directory {self.path}; give --state-dir") from None
        self._lock = lock
        self.withdraw_addresses()

    def publish_addresses(self, **addresses: str) -> None:
        """Write ``addresses.json``: the daemon is ready. Readers see all of it or none."""
        document = {"pid": os.getpid(), **{name: text for name, text in addresses.items() if text}}
        beside = self.path / (ADDRESSES + ".new")
        beside.write_text(json.dumps(document) + "\n")
        beside.rename(self.path / ADDRESSES)

    def withdraw_addresses(self) -> None:
        (self.path / ADDRESSES).unlink(missing_ok=True)

    def release(self) -> None:
        if self._lock is not None:
            self.withdraw_addresses()
            self._lock.close()
            self._lock = None
