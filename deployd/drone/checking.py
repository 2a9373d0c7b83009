"""Waiting until an instance is ready, and then until it is not well any more."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from deployd.drone.attempt import Attempt
from deployd.drone.custody import Kept, note_unknown
from deployd.drone.diagnosis import elsewhere, unready
from deployd.drone.means import Means, Outcome
from deployd.drone.tasks import run_task
from deployd.errors import NoAnswer
from deployd.model.instance import AssignedInstance
from deployd.model.role import EXEC, TCP, Check, shell_argv
from deployd.processes.custody import described
from deployd.processes.exits import Exit
from deployd.processes.forest import ProcessRef
from deployd.processes.listeners import Bind
from deployd.wire.keeping import Launch

PORTLESS_READY = 1.0
FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.005, 0.1, 1.5
# Somebody else on the port may be on its way out.
STRANGER_PAUSE = 0.25
TELL = 2.0
# Checks are asked on common ticks: many in one turn of the reactor cost half of what they cost one by one.
TICK = 0.5
UNACCEPTED = "nobody accepts connections on its socket"
UNHELD = "its socket is not open in any of its processes"


def check_of(line: AssignedInstance) -> Check | None:
    """None: it is ready when it has run for a while, and nobody asks how it is."""
    check = line.settings.check
    if line.port:
        return check or Check()
    return check if check is not None and check.kind == EXEC else None


async def until_ready(
    means: Means, attempt: Attempt, id: str, session: ProcessRef | None, say: Callable[[str], None]
) -> Kept | None:
    """Return once its check has passed and its port, if it has one, is its own (Note [Whose port it is]).

    ``say`` hears what is in the way as long as it is not. Raise NoAnswer at the check's deadline, with what the last
    look met and where it really listens.
    """
    check = check_of(attempt.line)
    if check is None:
        await deferLater(means.reactor, PORTLESS_READY)
        return None
    waiting = _Waiting(means, attempt, check, session, say)
    passing = Deferred.fromCoroutine(waiting.until_passed())
    telling = Deferred.fromCoroutine(waiting.tell())
    telling.addErrback(_told)
    late = means.reactor.callLater(check.deadline, passing.cancel)
    try:
        return await passing
    except CancelledError:
        if late.active():
            raise
        raise NoAnswer(await waiting.sentence(f"after {check.deadline:g} s", closely=True)) from None
    finally:
        telling.cancel()
        if late.active():
            late.cancel()


async def until_unhealthy(means: Means, attempt: Attempt, id: str, session: ProcessRef | None) -> str:
    """Return why, once its check has failed so often in a row as its role says."""
    check = check_of(attempt.line)
    if check is None:
        return await Deferred()
    asking = _Asking(means, attempt, check)
    failed = 0
    # Hundreds that became ready in one moment are not asked in one moment for ever.
    pause = check.interval * means.jitter()
    while True:
        await deferLater(means.reactor, _to_tick(means.reactor.seconds(), pause, check))
        outcome = await asking.ask()
        pause = check.interval
        failed = 0 if outcome.passed else failed + 1
        if failed >= check.failures:
            return (
                f"{failed} checks in a row failed: {outcome.text}"
                if failed > 1
                else f"its check failed: {outcome.text}"
            )


def _to_tick(now: float, pause: float, check: Check) -> float:
    """``pause``, give or take a little; commands are not to be started all at once."""
    if check.kind == EXEC:
        return pause
    tick = min(TICK, check.interval / 4)
    return max(0.0, round((now + pause) / tick) * tick - now)


class _Asking:
    """Asks one instance, once each time."""

    def __init__(self, means: Means, attempt: Attempt, check: Check) -> None:
        self._means = means
        self._attempt = attempt
        self._check = check
        self._bind: Bind = (attempt.bind, attempt.port.number if attempt.port else 0)

    def ask(self) -> Deferred[Outcome]:
        return self._means.checks.ask(self._attempt.line.app, self._check, self._bind, self._run)

    def _run(self) -> Deferred[Exit]:
        """Run the check's command as its app is run, but as a process that is ended on its own."""
        line, means = self._attempt.line, self._means
        id = f"{line.id}.check"
        launch = Launch(
            id=id,
            argv=shell_argv(self._check.command),
            env=self._attempt.env | {"PROCESS_ID": id},
            cwd=str(self._attempt.cwd),
            log="",
        )
        launch = means.isolation.confine(launch, line.app, line.settings.limits, group=line.id)
        task = run_task(means.keeper, means.reactor, means.end, launch, self._check.timeout)
        return Deferred.fromCoroutine(task)


class _Waiting:
    """One instance that is not ready; ``met`` is what the last look met."""

    def __init__(
        self, means: Means, attempt: Attempt, check: Check, session: ProcessRef | None, say: Callable[[str], None]
    ) -> None:
        self._means = means
        self._id = attempt.line.id
        self._check = check
        self._session = session
        self._say = say
        self._asking = _Asking(means, attempt, check)
        self._bind: Bind | None = (attempt.bind, attempt.port.number) if attempt.port else None
        self._socket = attempt.line.settings.socket and attempt.port is not None
        self._knocked = False
        self._kept: Kept | None = None
        self._met = ""
        self._stranger = ""

    async def until_passed(self) -> Kept | None:
        """Asks quickly at first, and ever less often: a deploy should not wait needlessly."""
        pause = FIRST_PAUSE
        longest = LAST_PAUSE if self._check.kind == TCP else max(LAST_PAUSE, self._check.interval)
        while not await self._passes():
            await deferLater(self._means.reactor, max(pause, STRANGER_PAUSE) if self._stranger else pause)
            pause = min(pause * GROWTH, longest)
        return self._kept

    async def tell(self) -> None:
        """A sentence every two seconds, while it is another one than before."""
        said = ""
        while True:
            await deferLater(self._means.reactor, TELL)
            sentence = await self.sentence("yet")
            if sentence != said:
                self._say(sentence)
            said = sentence

    async def sentence(self, when: str, closely: bool = False) -> str:
        if self._stranger:
            return self._stranger
        sentence = unready(self._check, self._bind, self._met, when)
        if self._bind is None:
            return sentence
        listening = await self._means.custody.listening(self._id, self._session, closely)
        return sentence + elsewhere(self._bind, self._met, listening)

    async def _passes(self) -> bool:
        met = await self._answer()
        self._stranger = ""
        if not met and self._bind is not None:
            met = await self._own(self._bind)
        self._met = met
        return not met

    async def _answer(self) -> str:
        """Why it does not pass its check; "" if it does."""
        if self._socket and self._check.kind == TCP:
            return await self._accepted()
        outcome = await self._asking.ask()
        return "" if outcome.passed else outcome.text or "failed"

    async def _accepted(self) -> str:
        """Its socket was open before it: a connect says nothing, only that somebody takes it off the queue does."""
        assert self._bind is not None
        if not self._knocked:
            outcome = await self._asking.ask()
            if not outcome.passed:
                return outcome.text
            self._knocked = True
        return UNACCEPTED if await self._means.custody.queued(self._bind) else ""

    async def _own(self, bind: Bind) -> str:
        holding = await self._means.custody.holding(self._id, self._session, bind)
        if holding.stranger:
            self._stranger = described(bind, holding)
            self._say(self._stranger)
            return self._stranger
        if not holding.sockets and self._check.kind == EXEC:
            return f"nothing listens on port {bind[1]}"
        if self._socket and not holding.known:
            return UNHELD
        note_unknown(self._id, bind, holding)
        self._kept = Kept(self._id, self._session, bind, holding.sockets, holding.known)
        return ""


def _told(failure: Failure) -> None:
    failure.trap(CancelledError)
