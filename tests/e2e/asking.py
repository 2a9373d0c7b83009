"""Somebody who asks an app all the time, and keeps account of what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.e2e.cluster import get

PAUSE = 0.01


class Asking:
    """Within its block a thread asks ``address``, of ``host`` if it is a router; ``right`` judges the answers."""

    def __init__(self, address: str, right: Callable[[str], bool], host: str = "", path: str = "/") -> None:
        self.count = 0
        self.failures: list[str] = []
        self._address = address
        self._right = right
        self._host = host
        self._path = path
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(PAUSE):
            self.count += 1
            try:
                status, body = get(self._address, self._path, host=self._host)
            except OSError as error:
                self.failures.append(repr(error))
            else:
                if status != 200 or not self._right(body):
                    self.failures.append(f"{status}: {body[:200]}")
