"""What a worker logs: a line an event, which the main process puts into its own log."""

from __future__ import annotations

from typing import IO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
)
from zope.interface import implementer


def observer(stream: IO[str]) -> ILogObserver:
    """Writes to ``stream``; of Twisted only what is a warning or worse."""

    @implementer(ILogObserver)
    def write(event: LogEvent) -> None:
        stream.write(eventAsText(event, includeTimestamp=False, includeSystem=False) + "\n")
        stream.flush()

    quiet = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    quiet.setLogLevelForNamespace("deployd", LogLevel.info)
    return FilteringLogObserver(write, [quiet])
