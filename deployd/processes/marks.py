"""The mark that every process of an instance bears, wherever it goes.

Note [The mark that stays]
~~~~~~~~~~~~~~~~~~~~~~~~~~
An environment can be cleared, a session left, a parent lost. A resource limit is inherited by fork and exec and nobody
thinks of changing RLIMIT_RTTIME: it only counts for processes with a real-time schedule, and in microseconds, of which
the smallest mark is worth 146,000 years. So its soft limit bears a number made from the instance's id. The
keeper sets it for itself for the moment of a start, so for that moment it bears the mark, too.
"""

from __future__ import annotations

from hashlib import sha256

_LOWEST = 2**62


def mark(instance: str) -> int:
    """The soft RLIMIT_RTTIME of the processes of the instance with that id."""
    return _LOWEST | int.from_bytes(sha256(instance.encode()).digest()[:8], "big") >> 3


def is_mark(soft: int) -> bool:
    """Whether a soft RLIMIT_RTTIME is some instance's mark."""
    return soft >= _LOWEST
