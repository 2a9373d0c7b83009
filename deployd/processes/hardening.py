"""Keeping the apps out of the daemon."""

from __future__ import annotations

import os

_PR_SET_DUMPABLE = 4


def make_undumpable() -> None:
    """Close this process's memory and /proc entries to other processes of the same user.

    An app of the drone's own user could otherwise read the secret out of /proc/PID/environ, /proc/PID/mem or by
    ptrace. Children are not affected: exec makes a process dumpable again. Raise OSError if the kernel refuses.
    """
    import ctypes  # 10 ms that programs which never call this need not pay

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
