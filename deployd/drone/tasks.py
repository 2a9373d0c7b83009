"""Commands that run to their end: build steps, exec checks, release commands."""

from __future__ import annotations

from contextlib import suppress
from signal import SIGKILL

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from deployd.drone.means import End, Keeper
from deployd.errors import DeploydError, NoAnswer
from deployd.processes.exits import Exit
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held, Launch

GONE = 10.0
"""Seconds until the keeper has noticed the end of what was killed."""


async def run_task(keeper: Keeper, clock: IReactorTime, end: End, launch: Launch, within: float) -> Exit:
    """How ``launch`` ended; raise NoAnswer if it has not after ``within`` seconds, what ``keeper.start`` raises else.

    Whatever happens, a cancellation too, nothing of it is left afterwards, nor was anything of an earlier one with its
    id when it began.
    """
    await _end_earlier(keeper, clock, end, launch.id)
    done: Deferred[Exit] = Deferred()
    starting = keeper.start(launch, done.callback)
    session = None
    try:
        held = await _apart(starting)
        session = ProcessRef(held.pid, held.created)
        return await done.addTimeout(within, clock)
    except TimeoutError:
        if launch.log:
            # Its keeper notes no more than that it was killed.
            keeper.remark(launch.log, f"did not end within {within:g} s")
        raise NoAnswer(f"it has not ended after {within:g} s") from None
    finally:
        # Nobody waits for it any more, but what it started must be found.
        with suppress(DeploydError):
            held = await starting
            session = ProcessRef(held.pid, held.created)
        try:
            await end(launch.id, session, 0.0, SIGKILL)
        finally:
            keeper.forget(launch.id)


async def _end_earlier(keeper: Keeper, clock: IReactorTime, end: End, id: str) -> None:
    """End what the keeper still holds under that id: an earlier life of the drone has left it."""
    gone: Deferred[Exit] = Deferred()
    earlier = keeper.take_over(id, gone.callback)
    if earlier is None:
        return
    await end(id, ProcessRef(earlier.pid, earlier.created), 0.0, SIGKILL)
    if not earlier.ended:
        try:
            await gone.addTimeout(GONE, clock)
        except TimeoutError:
            raise NoAnswer(f"an earlier {id} does not end") from None
    keeper.forget(id)


def _apart(starting: Deferred[Held]) -> Deferred[Held]:
    """Fires as ``starting`` does, which goes on and keeps its result though this one be cancelled."""
    apart: Deferred[Held] = Deferred()

    def fired(result: object) -> object:
        if not apart.called:
            apart.callback(result)  # type: ignore[arg-type]
        return result

    starting.addBoth(fired)
    return apart
