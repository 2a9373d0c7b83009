"""Lines of logs, made of records; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define, frozen

from deployd.processes.records import STDOUT, WORDS, Record
from deployd.processes.tail import last_lines

MAX_LINE = 64 * 1024
PATIENCE = 1.0
"""Seconds that a line waits for its end before it is shown without."""
_STREAMS = {WORDS: "deployd", STDOUT: "stdout"}


@frozen
class Source:
    """The instance that has printed a line."""

    drone: str
    id: str
    role: str
    release: str

    @classmethod
    def of(cls, drone: str, row: Mapping[str, Any]) -> Source:
        return cls(drone, str(row["id"]), str(row["role"]), str(row["release"]))


@frozen
class Line:
    """``stamp`` (microseconds since 1970) is when its first byte was printed."""

    stamp: int
    source: Source
    stream: int
    text: bytes

    @property
    def time(self) -> str:
        """``2026-11-26T10:00:00.123Z``."""
        try:
            moment = datetime.fromtimestamp(self.stamp // 1000 / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return str(self.stamp)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.stamp // 1000 % 1000:03}Z"

    @property
    def prefix(self) -> str:
        """``2026-11-26T10:00:00.123Z d1 http-ab12cd34ef | ``; with ``*`` what deployd itself says of it."""
        return f"{self.time} {self.source.drone} {self.source.id} {'*' if self.stream == WORDS else '|'} "

    @property
    def safe(self) -> str:
        """The text without what would move a terminal's cursor."""
        return last_lines(self.text, 1, 16 * MAX_LINE, 2 * MAX_LINE)

    def document(self) -> dict[str, Any]:
        source = self.source
        return {
            "time": self.time,
            "stamp": self.stamp,
            "drone": source.drone,
            "id": source.id,
            "role": source.role,
            "release": source.release,
            "stream": _STREAMS.get(self.stream, "stderr"),
            "text": self.text.decode("utf-8", "replace"),
        }


@define
class _Begun:
    stamp: int
    text: bytes
    since: float


class Assembly:
    """The records of one drone, in their order, as lines.

    What has no end yet is shown when its process ends or starts, when it is too long, or when it has waited for long
    (``take_old``, ``take_all``); what follows is then a line of its own.
    """

    def __init__(self) -> None:
        self._begun: dict[tuple[Source, int], _Begun] = {}

    @property
    def oldest(self) -> int | None:
        """The stamp of the oldest line without an end."""
        return min((begun.stamp for begun in self._begun.values()), default=None)

    @property
    def due(self) -> float | None:
        """When the next one has waited for long."""
        return min((begun.since + PATIENCE for begun in self._begun.values()), default=None)

    def add(self, source: Source, record: Record, now: float) -> list[Line]:
        """The lines that end with a record."""
        if record.stream == WORDS:
            ended = self._take(key for key in self._begun if key[0] == source)
            return [*ended, Line(record.stamp, source, WORDS, record.data.rstrip(b"\n"))]
        key = (source, record.stream)
        *ends, rest = record.data.split(b"\n")
        lines = []
        for end in ends:
            begun = self._begun.pop(key, None) or _Begun(record.stamp, b"", now)
            lines.append(Line(begun.stamp, source, record.stream, begun.text + end))
        if rest:
            begun = self._begun.setdefault(key, _Begun(record.stamp, b"", now))
            begun.text += rest
            if len(begun.text) > MAX_LINE:
                lines += self._take([key])
        return lines

    def take_old(self, now: float) -> list[Line]:
        return self._take(key for key, begun in self._begun.items() if now >= begun.since + PATIENCE)

    def take_all(self) -> list[Line]:
        return self._take(self._begun)

    def _take(self, keys: Iterable[tuple[Source, int]]) -> list[Line]:
        found = [(key, self._begun.pop(key)) for key in list(keys)]
        return sorted((Line(begun.stamp, *key, begun.text) for key, begun in found), key=lambda line: line.stamp)
