"""How daemons log: one line an event, as text or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import IO, Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

LOG_BYTES = 10_000_000
LOG_FILES = 5
_KEPT_OUT = ("log_", "isError", "why", "format", "message", "system", "time")


def observer(options: Any) -> ILogObserver:
    """The observer for a daemon run by twistd: to stdout with ``-n``, else to ``--logfile``, by ``--log-format``."""
    stream = _stream(options.parent)
    written: Any = json_observer(stream) if options["log-format"] == "json" else textFileLogObserver(stream)
    quiet = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    # AMP and the factories tell of every connection, which deployd.net does where it matters.
    for namespace in ("twisted.protocols.amp", "twisted.web.http", "twisted.web.server"):
        quiet.setLogLevelForNamespace(namespace, LogLevel.warn)
    return FilteringLogObserver(written, [quiet])


def _stream(twistd: Any) -> IO[Any]:
    logfile = twistd.get("logfile")
    if logfile == "-" or (logfile is None and twistd.get("nodaemon")):
        return sys.stdout
    return LogFile.fromFullPath(  # type: ignore[no-any-return]
        logfile or "twistd.log", rotateLength=LOG_BYTES, maxRotatedFiles=LOG_FILES, defaultMode=0o600
    )


def json_observer(stream: IO[Any]) -> Callable[[LogEvent], None]:
    """Write ``{"time", "level", "namespace", "text", ...fields}``, a line an event."""

    @implementer(ILogObserver)
    def write(event: LogEvent) -> None:
        level = event.get("log_level")
        failed = "log_failure" in event
        line = {
            "time": event.get("log_time"),
            "level": level.name if level is not None else "info",
            "namespace": event.get("log_namespace"),
            "text": eventAsText(event, includeTimestamp=False, includeSystem=False) if failed else formatEvent(event),
        }
        line |= {key: _plain(value) for key, value in event.items() if not key.startswith(_KEPT_OUT)}
        stream.write(json.dumps(line) + "\n")
        stream.flush()

    return write  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
