"""How long to wait before an instance that ended is started again."""

from __future__ import annotations

FIRST = 0.5
LONGEST = 60.0
STEADY = 60.0
_SPREAD = 0.2
_DOUBLINGS = 16


def delay(failures: int, jitter: float) -> float:
    """Seconds to wait after ``failures`` failures in a row: 0.5 s doubling to 60 s, none after none.

    ``jitter`` from 0 to 1 takes off up to a fifth, so that what fell together does not rise together.
    """
    if failures <= 0:
        return 0.0
    longest = FIRST * 2.0 ** min(failures - 1, _DOUBLINGS)
    return min(LONGEST, longest) * (1 - _SPREAD * jitter)


def failures_after(failures: int, ready_for: float) -> int:
    """The failures in a row once more has come, for an instance that was ready for ``ready_for`` seconds before it.

    A steady minute starts the count anew; 0 seconds means that it never became ready.
    """
    return 1 if ready_for >= STEADY else failures + 1
