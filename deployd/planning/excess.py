"""When an app has used more than it may."""

from __future__ import annotations

from collections.abc import Mapping

from deployd.model.role import Limits
from deployd.planning.disk import size_text

WORTH = 64 << 20
"""Who has written less than so many bytes has not filled the disk."""


def excess(limits: Limits, memory: int = 0, processes: int = 0, disk: int = 0) -> str:
    """What was used beyond ``limits``, for people; "" if nothing was."""
    if limits.memory and memory > limits.memory:
        return f"used {size_text(memory)} of memory, more than its {size_text(limits.memory)}"
    if limits.processes and processes > limits.processes:
        return f"had {processes} processes, more than its {limits.processes}"
    if limits.disk and disk > limits.disk:
        return f"wrote {size_text(disk)} to the disk, more than its {size_text(limits.disk)}"
    return ""


def greediest(written: Mapping[str, int]) -> str | None:
    """Of instances by what each has written since it was started: the one that goes when the disk is full."""
    worst = max(written, key=lambda id: (written[id], id), default=None)
    return worst if worst is not None and written[worst] >= WORTH else None
