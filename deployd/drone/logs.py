"""What the apps print, on disk."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd.drone.log_reading import Reading, Wanted, app_directory, start
from deployd.drone.log_segments import backwards
from deployd.processes.ending import ToThread
from deployd.processes.records import WORDS
from deployd.processes.tail import last_lines

STARTED = b"started"
MAX_KNOWN = 32

FILE_BYTES = 1_000_000
KEPT_FILES = 200
"""Of instances that are gone."""
LOOK, NEXT_LOOK = 1.0, 0.1
"""Seconds between looks at the sizes; the second after one that found too much."""
_TAIL_BYTES, _TAIL_LINES, _TAIL_SIZE = 16 * 1024, 20, 4096


def log_name(app: str, release: str, commit: str, id: str) -> str:
    """Where what an instance prints is kept, below the drone's log directory (wire.keeping.Launch.log).

    With the commit: a hub that lost its state numbers another commit ``v1``.
    """
    return f"{app_directory(app)}/{release}-{commit}/{id}"


class LogFiles:
    """What all instances have printed, below ``directory``. Everything here blocks: call it in a thread, always the
    same one but for ``tail``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[tuple[Wanted, int], Reading] = {}

    def tail(self, name: str, since: float = 0.0, lines: int = 50, size: int = 8 * 1024) -> str:
        """The last lines of the log called ``name``, safe to show.

        Of what was printed after ``since`` (seconds since 1970; 0: since it was started last).
        """
        pieces: list[bytes] = []
        enough = 2 * size
        for record in backwards(f"{self._directory}/{name}"):
            begins = record.stream == WORDS and record.data.startswith(STARTED)
            if enough <= 0 or record.stamp <= since * 1e6 or (begins and not since):
                break
            if record.stream != WORDS:
                pieces.append(record.data)
                enough -= len(record.data)
        return last_lines(b"".join(reversed(pieces)), lines, size)

    def reading(self, wanted: Wanted, after: int, newest: int) -> Reading:
        """Where ``after`` is, or ``newest`` lines before the end when that is below 0."""
        if after < 0:
            after = start(self._directory, wanted, newest)
        return self._known.pop((wanted, after), None) or Reading(self._directory, wanted, after)

    def put_back(self, reading: Reading) -> None:
        """Somebody may go on there soon."""
        self._known[reading.wanted, reading.after] = reading
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


@frozen
class _Since:
    """Where this start of an instance begins in its file, and in the file before it (None: that has nothing of it)."""

    here: int = 0
    before: int | None = None


class Log:
    """The output of one instance: ``path`` and, once that was full, ``path.1``.

    Note [Output goes to files]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~
    An app gets the file itself as its stdout and stderr. A pipe would break when the drone ends, and with it an app
    that should run on; and a chatty app would keep the drone busy with copying. The file is open for appending only,
    so cutting it to nothing lets the app go on at its new end.
    """

    _log = Logger()

    def __init__(self, path: Path, size: int = FILE_BYTES) -> None:
        self._path = path
        self._before = path.with_name(path.name + ".1")
        self._size = size
        self._since = _Since()
        self._lock = Lock()

    def open(self) -> int:
        """A descriptor for the output of a process that starts now; the caller closes it.

        What cannot be opened stops no app: its output is lost then.
        """
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._log.warn("no output is kept: {path}: {error}", path=str(self._path), error=error.strerror)
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._since = _Since(os.fstat(fd).st_size)
        return fd

    def tail(self) -> str:
        """The last lines that this start has printed, safe to show. Blocks; call it in a thread."""
        try:
            with self._lock:
                output = self._end()
        except OSError:
            return ""
        return last_lines(output, _TAIL_LINES, _TAIL_SIZE)

    def cut(self) -> bool:
        """Whether it had grown too long: then its end is moved to the file before. Blocks; raise OSError.

        What is printed while that happens, and what is before the end, is lost.
        """
        with self._lock:
            try:
                if self._path.stat().st_size <= self._size:
                    return False
            except FileNotFoundError:
                return False
            with self._path.open("r+b") as file:
                start = max(0, file.seek(0, os.SEEK_END) - self._size)
                file.seek(start)
                try:
                    self._write_before(file.read(self._size))
                finally:
                    # Above all it ends here: a full disk is why the rest may fail.
                    file.truncate(0)
            self._since = _Since(0, max(0, self._since.here - start))
            return True

    def _write_before(self, content: bytes) -> None:
        self._before.unlink(missing_ok=True)
        with os.fdopen(os.open(self._before, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)

    def _end(self) -> bytes:
        since = self._since
        output = _last(self._path, since.here)
        if len(output) < _TAIL_BYTES and since.before is not None and self._before.exists():
            output = _last(self._before, since.before) + output
        return output


class Logs:
    """``DIRECTORY/ID.log`` and ``ID.log.1``, for each instance about a megabyte each, and more only between two looks.

    ``to_thread`` does what blocks.
    """

    _log = Logger()

    def __init__(self, directory: Path, clock: Any, to_thread: ToThread, size: int = FILE_BYTES) -> None:
        self._directory = directory
        self._clock = IReactorTime(clock)
        self._to_thread = to_thread
        self._size = size
        self._open: dict[str, Log] = {}
        self._next: IDelayedCall | None = None
        self._pruned = False
        self._closed = False
        self._said = ""

    def prepare(self) -> None:
        """Make the directory, and look after it from now on; raise OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._next = self._clock.callLater(LOOK, self._look)

    def of(self, id: str) -> Log:
        """Where the output of instance ``id`` goes."""
        if id not in self._open:
            self._open[id] = Log(self._directory / f"{id}.log", self._size)
        return self._open[id]

    def release(self, id: str) -> None:
        """This instance is gone; its log stays until there are many newer ones."""
        self._open.pop(id, None)
        self._pruned = False

    def close(self) -> None:
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = None
        logs, prune, self._pruned = dict(self._open), not self._pruned, True
        self._to_thread(self._tend, logs, prune).addCallback(self._looked)

    def _looked(self, found: bool) -> None:
        if not self._closed:
            self._next = self._clock.callLater(NEXT_LOOK if found else LOOK, self._look)

    def _tend(self, logs: dict[str, Log], prune: bool) -> bool:
        found = False
        for log in logs.values():
            try:
                found = log.cut() or found
            except OSError as error:
                self._failed(error)
        try:
            if prune:
                self._prune(logs)
        except OSError as error:
            self._failed(error)
        return found

    def _failed(self, error: OSError) -> None:
        # What goes on failing is told once.
        if str(error) != self._said:
            self._said = str(error)
            self._log.warn("cannot look after the logs: {error}", error=error)

    def _prune(self, living: Collection[str]) -> None:
        gone = [
            (entry.stat().st_mtime, entry.path)
            for entry in os.scandir(self._directory)
            if entry.name.removesuffix(".1").removesuffix(".log") not in living
        ]
        for _, path in sorted(gone, reverse=True)[KEPT_FILES:]:
            Path(path).unlink(missing_ok=True)


def _last(path: Path, since: int) -> bytes:
    """The last whole lines of the file, within bounds; all that is there if it was cut to below ``since``."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        first = since if since <= size else 0
        start = file.seek(max(first, size - _TAIL_BYTES))
        output = file.read(_TAIL_BYTES)
    whole = output.partition(b"\n")[2] if start > first else output
    return whole or output
