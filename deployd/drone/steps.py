"""Runs one build command at a time through the keeper, and tells how it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.caches import Caches
from deployd.drone.flights import Say
from deployd.drone.logs import log_name
from deployd.drone.problem import BuildFailed, Outage
from deployd.errors import NoAnswer
from deployd.git.disk import delete_tree
from deployd.model.instance import AssignedInstance
from deployd.model.role import BuildStep, shell_argv
from deployd.processes.ending import ToThread
from deployd.processes.exits import Exit
from deployd.processes.tail import last_lines
from deployd.wire.keeping import Launch

AT_ONCE = 2
SAY_EVERY = 3.0
TAIL_LINES = 50
_SHOWN = 60
_LAST_WORDS = 120

Run = Callable[[Launch, float], Awaitable[Exit]]
"""Runs a command to its end, and ends all of it after so many seconds: then it raises NoAnswer."""
Sweep = Callable[[str], Awaitable[None]]
"""Ends whatever runs under that id."""
Tail = Callable[[str, int], str]
"""The last so many lines in a log since its process was started; it blocks."""


class Isolation(Protocol):
    """What keeps apps from each other (deployd.drone.isolation); ``own`` blocks."""

    def own(self, app: str, *trees: Path) -> None: ...
    def confine(self, launch: Launch, app: str) -> Launch: ...


@frozen
class Job:
    """One step of a release's build, as task ``id`` in the directory ``cwd``; ``say`` hears how it goes."""

    line: AssignedInstance
    step: BuildStep
    id: str
    cwd: Path
    env: dict[str, str] = field(repr=False, hash=False)
    say: Say

    @property
    def log(self) -> str:
        return log_name(self.line.app, self.line.release, self.line.commit, self.id)


class Steps:
    """At most two commands run at once on a drone, which has apps to run; the others wait in line.

    ``sweep`` ends what an earlier life of the drone has left of a task; ``path`` is the PATH of builds.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        shelf: Caches,
        run: Run,
        sweep: Sweep,
        tail: Tail,
        isolation: Isolation,
        to_thread: ToThread,
        path: str,
    ) -> None:
        self._clock = clock
        self._caches = shelf
        self._run = run
        self.sweep = sweep
        self._tail = tail
        self._isolation = isolation
        self._to_thread = to_thread
        self._path = path
        self._slots = DeferredSemaphore(AT_ONCE)

    async def run(self, job: Job) -> None:
        """Raise BuildFailed unless the command ends well within its time."""
        if not self._slots.tokens:
            job.say(f"waiting for other builds: {shown(job.step.command)}")
        await self._slots.acquire()
        try:
            job.say(f"building: {shown(job.step.command)}")
            await self._in_turn(job)
        finally:
            self._slots.release()

    async def _in_turn(self, job: Job) -> None:
        temporary = await self._to_thread(self._make_ready, job)
        began = self._clock.seconds()
        saying = self._saying(job, began)
        try:
            how = await self._run(self._launch(job, temporary), job.step.timeout)
        except NoAnswer as error:
            if self._clock.seconds() - began < job.step.timeout:
                raise Outage(str(error)) from error
            raise await self._failed(job, f"did not end within {job.step.timeout:g} s") from None
        finally:
            saying.stop()
            await self._to_thread(self._tidy, job.line.app, temporary)
        if how.code is None and how.signal is None:
            raise Outage(f"the build was broken off: `{shown(job.step.command)}` {how.text}")
        if how.code != 0:
            raise await self._failed(job, how.text)

    def _make_ready(self, job: Job) -> Path:
        app = job.line.app
        temporary = self._caches.temporary(app, job.id)
        self._isolation.own(app, job.cwd, self._caches.home(app), temporary)
        return temporary

    def _launch(self, job: Job, temporary: Path) -> Launch:
        plain = {"PATH": self._path, "LANG": "C.UTF-8"}
        said = {
            "REPO": job.line.app,
            "HOME": str(self._caches.home(job.line.app)),
            "TMPDIR": str(temporary),
            "PROCESS_ID": job.id,
        }
        argv = shell_argv(job.step.command)
        launch = Launch(id=job.id, argv=argv, env=plain | job.env | said, cwd=str(job.cwd), log=job.log)
        return self._isolation.confine(launch, job.line.app)

    async def _failed(self, job: Job, how: str) -> BuildFailed:
        tail = await self._to_thread(self._tail, job.log, TAIL_LINES)
        return BuildFailed(f"the build failed: `{shown(job.step.command)}` {how}", tail)

    def _saying(self, job: Job, since: float) -> LoopingCall:
        def look() -> Deferred[None]:
            looking = self._to_thread(self._tail, job.log, 1)
            return looking.addCallback(say).addErrback(self._not_said)

        def say(tail: str) -> None:
            words = tail.strip()[:_LAST_WORDS]
            if saying.running:
                took = f"{self._clock.seconds() - since:.0f} s"
                job.say(f"building: {shown(job.step.command)} ({took})" + (f": {words}" if words else ""))

        saying = LoopingCall(look)
        saying.clock = self._clock
        saying.start(SAY_EVERY, now=False)
        return saying

    def _not_said(self, failure: Failure) -> None:
        self._log.debug("cannot read how a build goes: {error}", error=failure.value)

    def _tidy(self, app: str, temporary: Path) -> None:
        delete_tree(temporary)
        self._caches.measure_home(app)


def shown(command: str) -> str:
    """The beginning of a command, for sentences about it."""
    first, *more = command.strip().splitlines() or [""]
    words = last_lines(first.encode(), 1)
    return f"{words[:_SHOWN]} ..." if more or len(words) > _SHOWN else words
