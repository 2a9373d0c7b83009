"""What the apps print, on disk: the keeper writes it (deployd.keeper.segments), and here it is read."""

from __future__ import annotations

from pathlib import Path

from deployd.drone.log_reading import Reading, Wanted, app_directory, start
from deployd.drone.log_segments import backwards
from deployd.processes.records import WORDS
from deployd.processes.tail import last_lines

STARTED = b"started"
MAX_KNOWN = 32


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
