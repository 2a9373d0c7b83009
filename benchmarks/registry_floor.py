"""The floor of a registration: a dict behind the registry's sessions, in a process of its own.

`python -m benchmarks.registry_floor` prints its address. No rules, no numbers, no disk, nobody who follows.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.endpoints import serverFromString

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.conversation import Conversation, responder
from deployd.net.secret import Secret
from deployd.net.server import ServerFactory, ServerTerms
from deployd.wire.registry import Attach, Publish, Update
from tests.e2e.cluster import SECRET

REVISION = Revision("floor", 0)


class DictSession(Conversation):
    """One owner's; all share the dict."""

    def __init__(self, table: dict[str, Registration]) -> None:
        self._table = table

    @responder(Attach)
    def attach(self, **said: Any) -> dict[str, Any]:
        return {"host": "127.0.0.1", "revision": REVISION, "stands": REVISION}

    @responder(Publish)
    def publish(self, part: int, parts: int, rows: tuple[Registration, ...]) -> dict[str, Any]:
        return self._put(rows)

    @responder(Update)
    def update(self, put: tuple[Registration, ...], free: tuple[str, ...]) -> dict[str, Any]:
        return self._put(put)

    def _put(self, rows: tuple[Registration, ...]) -> dict[str, Any]:
        self._table.update({row.id: row for row in rows})
        return {"revision": REVISION}


@contextmanager
def running() -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "benchmarks.registry_floor"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    from twisted.internet import reactor

    table: dict[str, Registration] = {}
    sessions = {"register": lambda peer, session: DictSession(table)}
    factory = ServerFactory(reactor, ServerTerms(kind="registry", secret=Secret(SECRET), conversations=sessions))
    listening = serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
    listening.addCallback(lambda port: print(f"127.0.0.1:{port.getHost().port}", flush=True))
    reactor.run()


if __name__ == "__main__":
    main()
