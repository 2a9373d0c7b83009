"""Why an instance does not run, and how that goes on."""

from __future__ import annotations

from attrs import define, frozen
from twisted.logger import Logger

from deployd.errors import DeploydError, InternalError, Refused
from deployd.planning import restarts
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
    the release, so it must not fail its deploy.
    """

    reason: str
    fatal: bool = False
    ours: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        if isinstance(error, DeploydError):
            return cls(str(error), isinstance(error, Hopeless), isinstance(error, Outage))
        _log.error("cannot start an instance: {error!r}", error=error)
        return cls(str(InternalError()))


@define
class Health:
    """The failures of one instance. Times are seconds of the reactor's clock.

    ``failures`` counts starts in a row in which the app did not become ready, ``falls`` all ends in a row without a
    steady minute between them: an app that comes up and falls again and again must be started ever less often, too.
    """

    failures: int = 0
    falls: int = 0
    fatal: bool = False
    reason: str = ""
    started_at: float = 0.0
    ready_at: float | None = None

    def forgive(self) -> None:
        """Forget the past: somebody wants it to be tried anew."""
        self.failures = self.falls = 0
        self.well()

    def well(self) -> None:
        self.fatal, self.reason = False, ""

    def started(self, now: float) -> None:
        self.started_at, self.ready_at = now, None

    def ready(self, now: float) -> None:
        self.ready_at = now
        self.failures = 0
        self.well()

    def fell(self, problem: Problem, now: float) -> None:
        self.falls = restarts.failures_after(self.falls, 0.0 if self.ready_at is None else now - self.ready_at)
        self.failures = self.failures + (not problem.ours) if self.ready_at is None else 0
        self.reason, self.fatal = problem.reason, problem.fatal
        self.ready_at = None

    def died(self, how: Exit, now: float) -> None:
        self.fell(Problem(sentence(how, now - self.started_at)), now)

    def pause(self, jitter: float) -> float:
        """Seconds to wait before the next start."""
        return restarts.LONGEST if self.fatal else restarts.delay(self.falls, jitter)


def sentence(how: Exit, lived: float) -> str:
    """How a process ended after ``lived`` seconds: ``exited at once with code 3``."""
    if lived < AT_ONCE and how.text.startswith("exited"):
        return how.text.replace("exited", "exited at once", 1)
    return f"{how.text} after {lived:.0f} s" if lived >= AT_ONCE else how.text
