"""The logs on disk: which segments there are, how much they hold, and which go first."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from attrs import define, frozen

from deployd.processes.records import first_stamp, segment_name

OPEN_FILES = 128
OPEN_SEGMENTS = 4096
BLOCK = 4096
"""What a file takes at least, so that many small ones are bounded too."""


@frozen
class Budgets:
    """Bytes: of the logs of one app, of all, and of one segment."""

    app: int = 64 * 1024 * 1024
    drone: int = 1024 * 1024 * 1024
    segment: int = 1024 * 1024


@define(eq=False)
class _Segment:
    """``order`` says which of two is the older one."""

    app: str
    log: str
    path: str
    order: int
    size: int = 0

    @property
    def cost(self) -> int:
        return max(self.size, BLOCK)


class Segments:
    """Appends to logs, each named by its directory below ``top``, whose first part is the app.

    A segment that is full has ended. Ended ones go first, the oldest of their app, or of all apps; so a log that says
    little keeps its last words as long as its app has room for one open segment of each log. ``opening`` is held
    while a file is opened (Note [Starting without fork]). ``say`` hears what is wrong, once until it has changed.
    """

    def __init__(
        self, top: Path, budgets: Budgets, opening: AbstractContextManager[Any], say: Callable[[str], None]
    ) -> None:
        self._top = str(top)
        # Room for some segments in each budget, or every write would throw all away.
        self._limit = min(budgets.segment, budgets.app // 4, budgets.drone // 4)
        self._budgets = budgets
        self._opening = opening
        self._say = say
        self._failing = False
        self._ended: dict[str, deque[_Segment]] = {}
        # The least recently written first.
        self._open: OrderedDict[str, _Segment] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._costs: dict[str, int] = {}
        self.total = 0

    def load(self) -> int:
        """Count what is there; the newest first stamp."""
        os.makedirs(self._top, mode=0o700, exist_ok=True)  # noqa: PTH103
        found = []
        for directory, _, names in os.walk(self._top):
            log = os.path.relpath(directory, self._top)
            for name in names:
                stamp = first_stamp(name)
                with suppress(OSError):
                    if stamp is not None:
                        path = os.path.join(directory, name)  # noqa: PTH118
                        found.append(_Segment(_app(log), log, path, stamp, os.stat(path).st_size))  # noqa: PTH116
        found.sort(key=lambda segment: segment.order)
        for segment in found:
            self._ended.setdefault(segment.app, deque()).append(segment)
            self._charge(segment.app, segment.cost)
        self._make_room()
        return found[-1].order if found else 0

    def write(self, log: str, stamp: int, data: bytes) -> None:
        """Append whole records, of which the first has that stamp. What cannot be written is lost."""
        try:
            self._write(log, stamp, data)
        except OSError as error:
            if not self._failing:
                self._say(f"output is lost: {error.strerror} ({log})")
            self._failing = True
        else:
            if self._failing:
                self._say("output is written again")
            self._failing = False

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _write(self, log: str, stamp: int, data: bytes) -> None:
        segment = self._open.get(log)
        if segment is not None and segment.size + len(data) > self._limit:
            self._end(segment)
            segment = None
        if segment is None:
            segment = self._begun(log, stamp)
        file = self._file(segment)
        written = os.write(file, data)
        if written < len(data):
            os.ftruncate(file, segment.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before = segment.cost
        segment.size += written
        segment.order = stamp
        self._open.move_to_end(log)
        self._charge(segment.app, segment.cost - before)
        self._make_room(segment.app)

    def _begun(self, log: str, stamp: int) -> _Segment:
        path = os.path.join(self._top, log, segment_name(stamp))  # noqa: PTH118
        segment = _Segment(_app(log), log, path, stamp)
        self._file(segment)
        if len(self._open) >= OPEN_SEGMENTS:
            self._end(next(iter(self._open.values())))
        self._open[log] = segment
        self._charge(segment.app, segment.cost)
        return segment

    def _file(self, segment: _Segment) -> int:
        file = self._files.get(segment.path)
        if file is None:
            if len(self._files) >= OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
            self._files[segment.path] = file = self._opened(segment.path)
        self._files.move_to_end(segment.path)
        return file

    def _opened(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with self._opening:
            try:
                return os.open(path, flags, 0o600)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
                return os.open(path, flags, 0o600)

    def _end(self, segment: _Segment) -> None:
        del self._open[segment.log]
        self._close(segment)
        self._ended.setdefault(segment.app, deque()).append(segment)

    def _close(self, segment: _Segment) -> None:
        file = self._files.pop(segment.path, None)
        if file is not None:
            os.close(file)

    def _charge(self, app: str, bytes: int) -> None:
        self._costs[app] = self._costs.get(app, 0) + bytes
        self.total += bytes

    # What goes.

    def _make_room(self, written: str | None = None) -> None:
        for app in [written] if written is not None else list(self._costs):
            while self._costs.get(app, 0) > self._budgets.app:
                self._delete(self._oldest_of(app))
        while self.total > self._budgets.drone:
            self._delete(self._oldest())

    def _oldest_of(self, app: str) -> _Segment:
        ended = self._ended.get(app)
        return ended[0] if ended else next(segment for segment in self._open.values() if segment.app == app)

    def _oldest(self) -> _Segment:
        ended = [segments[0] for segments in self._ended.values() if segments]
        return min(ended, key=lambda segment: segment.order) if ended else next(iter(self._open.values()))

    def _delete(self, segment: _Segment) -> None:
        if self._open.get(segment.log) is segment:
            del self._open[segment.log]
            self._close(segment)
        else:
            ended = self._ended[segment.app]
            ended.popleft()
            if not ended:
                del self._ended[segment.app]
        self._charge(segment.app, -segment.cost)
        if not self._costs[segment.app]:
            del self._costs[segment.app]
        with suppress(OSError):
            os.unlink(segment.path)  # noqa: PTH108
            # Up to the app's own, as far as nothing else is in them.
            directory = os.path.dirname(segment.path)  # noqa: PTH120
            while directory != self._top:
                os.rmdir(directory)  # noqa: PTH106
                directory = os.path.dirname(directory)  # noqa: PTH120


def _app(log: str) -> str:
    return log.partition("/")[0]
