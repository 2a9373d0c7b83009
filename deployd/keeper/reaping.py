"""Who has ended: the keeper's children, and the orphans that became so."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

AT_ONCE = 100


class Reaper:
    """``reap`` is called after SIGCHLD; orphans are nobody's and only leave the process table.

    ``wait`` is ``os.waitpid``. At most AT_ONCE ends are told in one turn of the reactor.
    """

    def __init__(self, reactor: Any, wait: Callable[[int, int], tuple[int, int]] = os.waitpid) -> None:
        self._reactor = reactor
        self._wait = wait
        self._expected: dict[int, Callable[[int], None]] = {}

    def expect(self, pid: int, ended: Callable[[int], None]) -> None:
        self._expected[pid] = ended

    def reap(self) -> None:
        for _ in range(AT_ONCE):
            try:
                pid, status = self._wait(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._expected.pop(pid, None)
            if ended is not None:
                ended(status)
        self._reactor.callLater(0, self.reap)
