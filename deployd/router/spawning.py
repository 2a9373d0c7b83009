"""Starting worker processes."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from twisted.internet.protocol import ProcessProtocol

from deployd.router.serving import ServingOptions
from deployd.router.worker_link import Spawn
from deployd.wire.codec import to_json
from deployd.wire.documents import dump

# What a worker keeps of the environment; the secret is none of its business.
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR")


def spawner(reactor: Any, options: ServingOptions, http: socket.socket, https: socket.socket | None) -> Spawn:
    """What starts a worker (deployd.router.worker says what its descriptors are)."""
    words = [sys.executable, "-m", "deployd.router.worker", dump(to_json(options)).decode("utf-8", "surrogatepass")]

    def spawn(protocol: ProcessProtocol, router: int) -> None:
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        children: dict[int, str | int] = {0: "w", 1: 1, 2: "r", 3: router, 4: http.fileno()}
        if https is not None:
            children[5] = https.fileno()
        # Without uid, gid and path Twisted need not fork, which a large router would wait for.
        reactor.spawnProcess(protocol, words[0], words, variables, childFDs=children)

    return spawn
