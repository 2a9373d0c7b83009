"""How long a target that does not answer stays out, and how it comes back.

Note [Passive ejection]
~~~~~~~~~~~~~~~~~~~~~~~
A router asks no target how it is; it sees connections refused, closed or silent. The first such failure takes the
target out for a second, each further one for twice as long, up to half a minute. What fails while it is out belongs to
the same trouble and does not count: fifty requests that were under way when a process died are one failure, not fifty.
After its time it is tried with one request each PROBE seconds, so that no burst goes to a target that is still ill; the
first answer forgives everything.
"""

from __future__ import annotations

from attrs import frozen

FIRST = 1.0
LONGEST = 30.0
PROBE = 1.0
_DOUBLINGS = 8


@frozen
class Trouble:
    """``failures`` in a row; what fails before ``until`` is part of the last of them."""

    failures: int = 0
    until: float = 0.0

    def after_failure(self, now: float) -> Trouble:
        if self.failures and now < self.until:
            return self
        failures = self.failures + 1
        return Trouble(failures, now + out_for(failures))


def out_for(failures: int) -> float:
    """Seconds that a target is out after ``failures`` in a row."""
    if failures <= 0:
        return 0.0
    return min(LONGEST, FIRST * 2.0 ** min(failures - 1, _DOUBLINGS))
