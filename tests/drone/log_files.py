"""Logs on disk as the keeper writes them."""

from __future__ import annotations

from pathlib import Path

from deployd.drone.log_reading import Page
from deployd.drone.logs import log_name
from deployd.processes.log_page import unpack_from
from deployd.processes.records import STDOUT, Record, pack, segment_name

COMMIT = "c0ffee" * 6 + "abcd"


class LogWriter:
    """Writes records with growing stamps; a segment has ``records`` of them."""

    def __init__(self, top: Path, records: int = 3) -> None:
        self.top = top
        self.stamp = 1000
        self._records = records
        self._open: dict[str, tuple[Path, int]] = {}

    def say(self, id: str, text: str, stream: int = STDOUT, app: str = "webapp", release: str = "v1") -> int:
        """The stamp of the new record."""
        self.stamp += 1
        directory = self.directory(id, app, release)
        directory.mkdir(parents=True, exist_ok=True)
        path, left = self._open.get(str(directory), (directory, 0))
        if not left:
            path, left = directory / segment_name(self.stamp), self._records
        with path.open("ab") as file:
            file.write(pack(Record(self.stamp, stream, text.encode())))
        self._open[str(directory)] = path, left - 1
        return self.stamp

    def directory(self, id: str, app: str = "webapp", release: str = "v1") -> Path:
        return self.top / log_name(app, release, COMMIT, id)


def told(page: Page) -> list[tuple[str, str]]:
    """What a page says, and who."""
    return [(page.sources[position].id, record.data.decode()) for position, record in unpack_from(page.data)]
