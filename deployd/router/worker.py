"""The main of a worker process: serves what the main process tells it, for as long as that lives.

``python -m deployd.router.worker OPTIONS``: OPTIONS are a ServingOptions as JSON; descriptor 3 leads to the main
process, 4 listens for HTTP and 5 for HTTPS.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

from deployd.wire.documents import load

ROUTER, HTTP, HTTPS = 3, 4, 5


def main(argv: list[str]) -> None:
    document = load(argv[1].encode("utf-8", "surrogateescape"))
    if not document.get("certs"):
        # Twisted imports it whenever it is there (Note [A daemon without pyOpenSSL]).
        sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from deployd.daemon.clock import monotonic
    from deployd.router.serving import Serving, ServingOptions
    from deployd.router.table import Table
    from deployd.router.worker_log import observer
    from deployd.router.worker_service import Worker
    from deployd.wire.codec import from_json

    # Whoever ends the router ends the main process, which lets its workers finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    globalLogBeginner.beginLoggingTo([observer(sys.stderr)], redirectStandardIO=False, discardBuffer=True)
    clock: Any = monotonic(reactor)
    options = from_json(document, ServingOptions)
    table = Table(clock)
    https = _socket(HTTPS) if options.certs else None
    serving = Serving(clock, table, options, _socket(HTTP), https, clock_threads(clock))
    worker = Worker(clock, table, serving)
    clock.callWhenRunning(worker.begin, _socket(ROUTER))
    clock.run(installSignalHandlers=False)
    # Threads that still wait for a disk may not keep it.
    sys.stderr.flush()
    os._exit(0)


def clock_threads(reactor: Any) -> Any:
    from twisted.internet.threads import deferToThreadPool

    return lambda function, *arguments: deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)


def _socket(descriptor: int) -> socket.socket:
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


if __name__ == "__main__":
    main(sys.argv)
