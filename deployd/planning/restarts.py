"""Whether an instance that ended is started again, and when."""

from __future__ import annotations

from attrs import frozen

FIRST = 0.5
LONGEST = 60.0
STEADY = 60.0
_SPREAD = 0.2
_DOUBLINGS = 16


@frozen
class Past:
    """``falls`` counts the ends in a row without a steady minute between them, ``faults`` those of them that were the
    app's own: while the hub or the network is away it has no chance."""

    falls: int = 0
    faults: int = 0

    def after(self, ready_for: float, ours: bool) -> Past:
        """Once more has come, after it was ready for ``ready_for`` seconds; 0 means that it never became ready."""
        before = Past() if ready_for >= STEADY else self
        return Past(before.falls + 1, before.faults + (not ours))

    def pause(self, fatal: bool, jitter: float) -> float:
        """Seconds to wait before the next start; ``fatal``: it will hardly go better."""
        return LONGEST if fatal else delay(self.falls, jitter)

    def hopeless(self, give_up: int) -> bool:
        """Whether nobody should start it again by himself; ``give_up`` is how many faults are too many, 0: never."""
        return 0 < give_up <= self.faults


def delay(failures: int, jitter: float) -> float:
    """Seconds to wait after ``failures`` failures in a row: 0.5 s doubling to 60 s, none after none.

    ``jitter`` from 0 to 1 takes off up to a fifth, so that what fell together does not rise together.
    """
    if failures <= 0:
        return 0.0
    longest = FIRST * 2.0 ** min(failures - 1, _DOUBLINGS)
    return min(LONGEST, longest) * (1 - _SPREAD * jitter)
