"""Asks whether apps are well, in the way that their role says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError

from deployd.drone.means import Outcome
from deployd.errors import DeploydError, NoAnswer
from deployd.model.role import EXEC, HTTP, Check
from deployd.processes.exits import Exit
from deployd.processes.probing import Prober, silent

COMMANDS_AT_ONCE = 8
"""Of one app: each is a process. Those that hang keep only their own app waiting."""


class Checks:
    """``deployd.drone.means.Checks`` on the reactor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._prober = Prober(reactor)
        self._commands: dict[str, DeferredSemaphore] = {}

    def ask(
        self, app: str, check: Check, bind: tuple[str, int], run: Callable[[], Deferred[Exit]]
    ) -> Deferred[Outcome]:
        """Cancelling ends the asking, and a command with it."""
        if check.kind == EXEC:
            return Deferred.fromCoroutine(self._run(app, check, run))
        if check.kind == HTTP:
            asked = self._prober.http(*bind, check.timeout, check.path, check.lowest, check.highest)
        else:
            asked = self._prober.tcp(*bind, check.timeout)
        return asked.addCallback(_outcome)

    async def _run(self, app: str, check: Check, run: Callable[[], Deferred[Exit]]) -> Outcome:
        commands = self._commands.setdefault(app, DeferredSemaphore(COMMANDS_AT_ONCE))
        await commands.acquire()
        try:
            how = await run().addTimeout(check.timeout, self._reactor)
        except (TimeoutError, NoAnswer):
            return Outcome(False, silent(check.timeout))
        except DeploydError as error:
            return Outcome(False, str(error))
        finally:
            commands.release()
            if commands.tokens == COMMANDS_AT_ONCE:
                self._commands.pop(app, None)
        return Outcome(how.code == 0, how.text)


def _outcome(why: str) -> Outcome:
    return Outcome(not why, why)
