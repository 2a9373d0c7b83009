"""What processes and directories use. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Collection
from io import FileIO
from pathlib import Path

from attrs import frozen

from deployd.processes.forest import PROC, ProcessRef

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SECTOR = 512


@frozen
class Usage:
    """``memory`` in bytes."""

    memory: int = 0
    processes: int = 0


def usage(refs: Collection[ProcessRef], enough: int = 0) -> Usage:
    """What these processes use together.

    What they share counts for each at first, which is quickly asked; only where that is more than ``enough`` is each
    one's part of it found out.
    """
    memory = sum(_resident(ref.pid) for ref in refs)
    if memory > enough:
        memory = sum(_proportional(ref.pid) for ref in refs)
    return Usage(memory, len(refs))


def written_since(top: Path, since: float) -> int:
    """The bytes on disk of what was changed below ``top`` after ``since`` (seconds since 1970)."""
    total = 0
    waiting = [str(top)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * _SECTOR if found.st_ctime >= since else 0
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return total


def _resident(pid: int) -> int:
    try:
        with FileIO(f"{PROC}/{pid}/statm") as file:
            return int(file.readall().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with FileIO(f"{PROC}/{pid}/smaps_rollup") as file:
            for line in file.readall().splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return _resident(pid)
