"""What apps have printed, out of their drone's files."""

from __future__ import annotations

from pathlib import Path

from deployd.processes.records import WORDS, unpack


def printed(state: Path, id: str = "*") -> bytes:
    """All that an instance, or every one, of the drone with this state directory has printed."""
    segments = sorted((state / "logs").glob(f"*/*/{id}/*.log"))
    records = [record for segment in segments for record in unpack(segment.read_bytes())[0]]
    return b"".join(record.data for record in records if record.stream != WORDS)
