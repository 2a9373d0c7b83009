"""Why an instance does not run, and how that goes on."""

from __future__ import annotations

from attrs import define, field, frozen
from twisted.logger import Logger

from deployd.errors import DeploydError, InternalError, Refused
from deployd.planning.restarts import Past
from deployd.processes.exits import Exit

_log = Logger()

AT_ONCE = 1.0


class Hopeless(Refused):
    """That cannot work until something outside changes."""


class BuildFailed(Hopeless):
    """A build command has failed; ``tail`` is what it printed last."""

    def __init__(self, reason: str, tail: str = "") -> None:
        super().__init__(reason)
        self.tail = tail


class Outage(DeploydError):
    """What the app needs around it is away for now."""


@frozen
class Problem:
    """``reason`` is a sentence for people; ``fatal``: trying again is of little use until something else changes.

    ``ours``: the app had no chance to fail, as the hub, the registry or the network was away. That says nothing about
    the release, so it must not fail its deploy. ``tail`` is the last output of what failed, if that is not the app.
    """

    reason: str
    fatal: bool = False
    ours: bool = False
    tail: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        if isinstance(error, DeploydError):
            tail = error.tail if isinstance(error, BuildFailed) else ""
            return cls(str(error), isinstance(error, Hopeless), isinstance(error, Outage), tail)
        _log.error("cannot start an instance: {error!r}", error=error)
        return cls(str(InternalError()))


@define
class Health:
    """The failures of one instance. Times are seconds of the reactor's clock.

    ``failures`` counts starts in a row in which the app did not become ready; ``past`` is why the next start waits.
    """

    past: Past = field(factory=Past)
    failures: int = 0
    fatal: bool = False
    reason: str = ""
    started_at: float = 0.0
    ready_at: float | None = None

    def forgive(self) -> None:
        """Forget the past: somebody wants it to be tried anew."""
        self.failures, self.past = 0, Past()
        self.well()

    def well(self) -> None:
        self.fatal, self.reason = False, ""

    def started(self, now: float) -> None:
        self.started_at, self.ready_at = now, None

    def ready(self, now: float) -> None:
        # What an earlier life of the drone has started was ready before.
        self.ready_at = now if self.ready_at is None else self.ready_at
        self.failures = 0
        self.well()

    def fell(self, problem: Problem, now: float) -> None:
        self.past = self.past.after(0.0 if self.ready_at is None else now - self.ready_at, problem.ours)
        self.failures = self.failures + (not problem.ours) if self.ready_at is None else 0
        self.reason, self.fatal = problem.reason, problem.fatal
        self.ready_at = None


LOST = Problem("was lost in mid-run; whether it finished is unknown", fatal=True)
"""Of what runs once."""


def of_exit(how: Exit, lived: float) -> Problem:
    """A process that ended after ``lived`` seconds: ``exited at once with code 3``."""
    if how.code is None and how.signal is None:
        return Problem(how.text, ours=True)
    if lived < AT_ONCE and how.code is not None:
        return Problem(how.text.replace("exited", "exited at once", 1))
    return Problem(f"{how.text} after {lived:.0f} s" if lived >= AT_ONCE else how.text)


def of_single(how: Exit) -> Problem:
    """The end of what runs once."""
    return LOST if how.code is None and how.signal is None else Problem(how.text)
