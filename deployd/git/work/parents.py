"""A process that does not outlive the one that it works for, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal

_DIE_WITH_PARENT = 1


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; return whether that is still ``parent``."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    return os.getppid() == parent
