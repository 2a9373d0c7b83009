"""Sees to it that what is in the port table is the app, and not somebody else on its port."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from deployd.drone.means import Means
from deployd.processes.custody import Holding, described
from deployd.processes.listeners import Bind
from deployd.processes.trees import ProcessRef

if TYPE_CHECKING:
    from deployd.drone.instance import Instance

SWEEP = 1.0
MISSED = 2
NOBODY = Holding(frozenset(), known=False)

_log = Logger()


@define
class Kept:
    """The port of one instance that passed its check; ``sockets`` are those that were its own when last seen.

    ``known``: in a process of its tree, so somebody whom we cannot see is somebody else. ``missed``: how many sweeps in
    a row have found nobody listening, or nobody to be seen.
    """

    id: str
    session: ProcessRef | None
    bind: Bind
    sockets: frozenset[int]
    known: bool
    missed: int = 0


class PortWatch(Service):
    """Every second one look at who listens, for all instances that are in the port table.

    A socket that is another one than before is asked for its holder; one without a stranger's is the app's again (it
    may have opened a new one). ``instances`` gives the instances of the drone.
    """

    def __init__(self, means: Means, instances: Callable[[], Collection[Instance]]) -> None:
        self._means = means
        self._instances = instances
        self._sweeping: LoopingCall | None = None

    def startService(self) -> None:
        super().startService()
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = self._means.reactor
        self._sweeping.start(SWEEP, now=False)

    def stopService(self) -> Any:
        if self._sweeping is not None and self._sweeping.running:
            self._sweeping.stop()
        return super().stopService()

    def _sweep(self) -> Deferred[None]:
        sweeping = Deferred.fromCoroutine(self._look())
        # The next one may be luckier; ending here would leave nobody who looks.
        return sweeping.addErrback(lambda failure: _log.failure("while looking at the ports", failure=failure))

    async def _look(self) -> None:
        kept = {instance: instance.kept for instance in self._instances()}
        binds = {one.bind for one in kept.values() if one is not None and one.sockets}
        if not binds:
            return
        found = await self._means.custody.sockets(binds)
        for instance, one in kept.items():
            if one is not None and one.sockets and one.sockets != found[one.bind]:
                why = await self._usurped(one, found[one.bind])
                if why and instance.kept is one:
                    instance.broken(why)
            elif one is not None:
                one.missed = 0

    async def _usurped(self, kept: Kept, sockets: frozenset[int]) -> str:
        """Why the port is no longer the app's; "" if it is."""
        holding = await self._means.custody.holding(kept.id, kept.session, kept.bind) if sockets else NOBODY
        if holding.stranger:
            return described(kept.bind, holding)
        if not holding.sockets or (kept.known and not holding.known):
            kept.missed += 1
            return described(kept.bind, holding) if kept.missed >= MISSED else ""
        kept.sockets, kept.missed = holding.sockets, 0
        return ""


def note_unknown(id: str, bind: Bind, holding: Holding) -> None:
    """Say in the drone's log what is taken on trust."""
    if not holding.known:
        said = "cannot see which process holds port {port} of {id}: taken for its own"
        _log.info(said, port=bind[1], id=id)
