"""deployctl's own stdin, stdout and stderr, without holding up its links: a terminal may be stopped for long."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred, succeed

from deployd.cli.blocking import Blocking

READ = 32 * 1024


class Standard:
    """``reads``: whether stdin is read at all."""

    def __init__(self, reactor: Any, reads: bool) -> None:
        self._reads = reads
        self._in = Blocking(reactor, "input")
        self._out = Blocking(reactor, "output")

    def read(self) -> Deferred[bytes]:
        """Some input; nothing at its end."""
        return self._in.run(_read) if self._reads else succeed(b"")

    def write(self, stdout: bytes, stderr: bytes) -> Deferred[None]:
        """Fires when both are out."""
        return self._out.run(_write, stdout, stderr)


def _read() -> bytes:
    try:
        if os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp():
            # In the background of a shell, reading would stop us.
            return b""
        return os.read(0, READ)
    except OSError:
        # It was given none.
        return b""


def _write(stdout: bytes, stderr: bytes) -> None:
    for stream, data in ((sys.stdout.buffer, stdout), (sys.stderr.buffer, stderr)):
        if data:
            stream.write(data)
            stream.flush()
