"""When an app has used more than it may."""

from __future__ import annotations

from collections.abc import Mapping

from deployd.model.role import Limits

_UNITS = ((40, "T"), (30, "G"), (20, "M"))
WORTH = 64 << 20
"""Who has written less than so many bytes has not filled the disk."""


def excess(limits: Limits, memory: int = 0, processes: int = 0, disk: int = 0) -> str:
    """What was used beyond ``limits``, for people; "" if nothing was."""
    if limits.memory and memory > limits.memory:
        return f"used {bytes_text(memory)} of memory, more than its {bytes_text(limits.memory)}"
    if limits.processes and processes > limits.processes:
        return f"had {processes} processes, more than its {limits.processes}"
    if limits.disk and disk > limits.disk:
        return f"has {bytes_text(disk)} on the disk, more than its {bytes_text(limits.disk)}"
    return ""


def bytes_text(size: int) -> str:
    """As in a ``deployd.toml``: ``512M``, ``2G``; what is no round number in whole megabytes."""
    for shift, unit in _UNITS:
        if size >= 1 << shift and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return f"{size >> 20}M"


def greediest(written: Mapping[str, int]) -> str | None:
    """Of instances by what each has written since it was started: the one that goes when the disk is full."""
    worst = max(written, key=lambda id: (written[id], id), default=None)
    return worst if worst is not None and written[worst] >= WORTH else None
