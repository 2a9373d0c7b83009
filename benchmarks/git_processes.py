"""What a server's processes use together: the CPU of all that ever ran below one, and their memory at its peak."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from attrs import define

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
_EVERY = 0.03
_SETTLED = 0.1
_SETTLES = 30.0


@define
class Used:
    """Seconds of the clock and of CPU; ``peak`` are megabytes that were resident at one time, counted for each process
    alone, so that what several share counts several times."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0


@contextmanager
def watched(pid: int) -> Iterator[Used]:
    """What the tree of ``pid`` uses while the body runs, and for its CPU, until it rests again."""
    used = Used()
    ended = Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            used.peak = max(used.peak, resident(tree(pid)))

    watcher = Thread(target=watch)
    before = cpu(pid)
    watcher.start()
    began = time.perf_counter()
    try:
        yield used
        used.wall = time.perf_counter() - began
    finally:
        ended.set()
        watcher.join()
    used.peak = max(used.peak, resident(tree(pid)))
    used.cpu = settled(pid) - before


def settled(pid: int) -> float:
    """The CPU of the tree of ``pid`` once it uses none any more, or nearly; what it was after half a minute else."""
    end = time.monotonic() + _SETTLES
    last = cpu(pid)
    while True:
        time.sleep(_SETTLED)
        now = cpu(pid)
        if now - last < _SETTLED / 5 or time.monotonic() > end:
            return last
        last = now


def cpu(pid: int) -> float:
    """The seconds that ``pid``, what runs below it and what has ended there have used, to a hundredth."""
    total = 0
    for each in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_bytes().rpartition(b")")[2].split()
            total += sum(int(number) for number in fields[11:15])
    return total / _TICKS


def resident(pids: list[int]) -> float:
    """Megabytes of all of them."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    return total


def tree(pid: int) -> list[int]:
    """``pid`` and all that it, or one below it, has started."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[1]
                below.setdefault(int(parent), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += below.get(each, ())
    return found
