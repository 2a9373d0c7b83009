"""Access lines on their way to a file, without anybody waiting for the disk.

Note [One file, several processes]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Workers write to one file, opened for appending, whole lines at once. Whoever finds it too long renames it, under a lock
beside it; the others see at their next look that the name means another file, and open that.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Condition, Thread

from twisted.logger import Logger

LOG_BYTES = 50_000_000
LOG_FILES = 5
MAX_WAITING = 20_000
# Seconds in which lines gather.
GATHERING = 0.2
# As much is written at once.
BATCH = 500


class LogFile:
    """A file that only grows, up to ``limit`` bytes; then it is ``PATH.1``, and the oldest of ``count`` goes."""

    def __init__(self, path: Path, limit: int = LOG_BYTES, count: int = LOG_FILES) -> None:
        self._path = path
        self._limit = limit
        self._count = count
        self._file = -1
        self._open()

    def write(self, text: bytes) -> None:
        """Append ``text``; raise OSError."""
        self._look()
        while text:
            text = text[os.write(self._file, text) :]

    def close(self) -> None:
        os.close(self._file)

    def _open(self) -> None:
        opened = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened

    def _look(self) -> None:
        if self._moved():
            self._open()
        if os.fstat(self._file).st_size >= self._limit:
            self._turn()
            self._open()

    def _moved(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def _turn(self) -> None:
        lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._moved():
                return
            for number in range(self._count - 1, 0, -1):
                older = self._numbered(number)
                if older.exists():
                    older.rename(self._numbered(number + 1))
            self._path.rename(self._numbered(1))
        finally:
            os.close(lock)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class Output:
    """stdout, in place of a LogFile."""

    def write(self, text: bytes) -> None:
        sys.__stdout__.buffer.write(text)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]

    def close(self) -> None:
        """It is not ours."""


class AccessLog:
    """Takes lines from the reactor's thread and writes them in its own; what does not fit is dropped, and counted."""

    _log = Logger()

    def __init__(self, file: LogFile | Output, max_waiting: int = MAX_WAITING) -> None:
        self._file = file
        self._max_waiting = max_waiting
        self._lines: deque[Callable[[], bytes]] = deque()
        self._condition = Condition()
        self._closing = False
        self._thread = Thread(target=self._run, name="access log", daemon=True)
        self.dropped = 0

    def start(self) -> None:
        self._thread.start()

    def add(self, line: Callable[[], bytes]) -> None:
        """``line`` makes the text, with its newline, in the other thread."""
        if len(self._lines) >= self._max_waiting:
            self.dropped += 1
        else:
            self._lines.append(line)

    def close(self) -> None:
        """Write what waits; called in a thread, as it takes as long as the disk does."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._file.close()

    def _run(self) -> None:
        troubled = False
        while True:
            with self._condition:
                over = self._closing or self._condition.wait_for(lambda: self._closing, GATHERING)
            try:
                self._flush()
                troubled = False
            except OSError as error:
                if not troubled:
                    self._log.error("cannot write the access log: {error}", error=error)
                troubled = True
            if over:
                return

    def _flush(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), BATCH))]
            try:
                self._file.write(b"".join(line() for line in batch))
            except OSError:
                self.dropped += len(batch)
                raise


def access_log(target: str | None) -> AccessLog | None:
    """The log for ``--access-log``; raise OSError."""
    if target is None:
        return None
    return AccessLog(Output() if target == "-" else LogFile(Path(target)))
