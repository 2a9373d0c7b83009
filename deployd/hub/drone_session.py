"""One connected drone: what it reports, and that it gets what is assigned to it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Malformed
from deployd.hub.drains import Drains
from deployd.hub.traffic import NoTraffic, Traffic
from deployd.model.desired import Desired, KnownDrone
from deployd.model.instance import AssignedInstance, Goal, ObservedInstance, State
from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey
from deployd.net.peer import Peer
from deployd.planning.placement import Seen, assignment
from deployd.planning.view import View
from deployd.wire.fleet import Assign, Prefetch
from deployd.wire.paging import Assembly, pages

RETRY = 5.0
MAX_REPORTED = 20_000


class DroneSession:
    """``changed`` is called whenever ``seen`` or what follows from it may be something else.

    ``leaving`` are the ids that it was told to drain or stop and still has, and those that start anew.

    Note [The first report comes first]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Nothing is assigned before the drone has said what it has: what runs there and is wanted no more has to be told to
    drain, and what a drone of another hub runs is no business of this one until somebody says so.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        peer: Peer,
        drone: KnownDrone,
        epoch: str,
        changed: Callable[[], None],
        traffic: Traffic | None = None,
    ) -> None:
        self.drone = drone
        self.peer = peer
        self.epoch = epoch
        self.seen: Seen = {}
        self.leaving: frozenset[str] = frozenset()
        self._clock = clock
        self._changed = changed
        self._assembly: Assembly[ObservedInstance] = Assembly()
        self._reported: Revision | None = None
        self._assigned: Revision | None = None
        self._lines: tuple[AssignedInstance, ...] = ()
        self._sending: Deferred[None] | None = None
        self._drains = Drains(clock, traffic or NoTraffic(), changed)
        self._trouble = ""
        self._closed = False

    # What the drone says.

    def report(self, reported: Revision, part: int, parts: int, instances: tuple[ObservedInstance, ...]) -> None:
        """Take one part of a report; raise Malformed."""
        if self._assembly.held + len(instances) > MAX_REPORTED:
            raise Malformed(f"more than {MAX_REPORTED} instances")
        whole = self._assembly.add(part, parts, instances)
        if whole is not None:
            self._reported = reported
            self.seen = {instance.id: instance for instance in whole}
            self._changed()

    @property
    def has_reported(self) -> bool:
        return self._reported is not None

    @property
    def drains(self) -> bool:
        """Whether something waits there for its work to end."""
        return bool(self._drains)

    @property
    def current(self) -> bool:
        """Whether the last report tells of the newest assignment."""
        return self._assigned is not None and self._reported is not None and self._reported.reached(self._assigned)

    def view(self) -> View:
        return View(connected=True, current=self.current, instances=self.seen, trouble=self._trouble)

    # What the hub wants.

    def plan(self, desired: Desired, number: Callable[[], Revision], loud: Collection[ReleaseKey] = ()) -> None:
        """Assign what ``desired`` means for this drone, if that is something else than before."""
        if self._reported is None or self._closed:
            return
        strange = self._reported.epoch != self.epoch or self._reported.number == 0
        drained = self._drains.look(desired, self.seen, self._reported)
        lines = assignment(desired, self.drone.description, self.seen, strange, drained, loud)
        is_new = self._assigned is None or lines != self._lines
        if is_new:
            self._lines, self._assigned = lines, number()
        assert self._assigned is not None
        self._drains.follow(desired, lines, self._assigned, self.seen)
        self.leaving = frozenset(line.id for line in lines if self._is_leaving(line))
        if is_new and self._sending is None:
            self._sending = Deferred.fromCoroutine(self._send())
            # It may be over already, where the peer answers at once.
            self._sending.addErrback(self._failed).addBoth(self._sent)

    def prefetch(self, app: str, ref: str, commit: str) -> None:
        """Tell the drone of a push. It may be lost: what is deployed is fetched anyway."""
        asking = self.peer.call(Prefetch, app=app, ref=ref, commit=commit)
        asking.addErrback(lambda failure: self._log.debug("no prefetch: {error}", error=failure.value))

    def close(self) -> None:
        """The connection is gone, or is about to be."""
        self._closed = True
        if self._sending is not None:
            self._sending.cancel()
        self._drains.close()

    async def _send(self) -> None:
        """Send assignments until the newest is taken; one is under way at a time."""
        taken: Revision | None = None
        while taken != self._assigned:
            revision = self._assigned
            assert revision is not None
            try:
                if await self._send_pages(revision):
                    taken = revision
                self._trouble = ""
            except DeploydError as error:
                if self.peer.is_closed:
                    return
                self._log.warn("{drone} did not take its assignment: {error}", drone=self.drone.name, error=error)
                self._trouble = str(error)
                self._changed()
                await deferLater(self._clock, RETRY)

    async def _send_pages(self, revision: Revision) -> bool:
        """Send all parts of one assignment; False when a newer one came meanwhile."""
        parts = pages(self._lines)
        for part, instances in enumerate(parts):
            await self.peer.call(Assign, revision=revision, part=part, parts=len(parts), instances=instances)
            if self._assigned != revision:
                return False
        return True

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("while assigning to {drone}", failure=failure, drone=self.drone.name)

    def _sent(self, _: None) -> None:
        self._sending = None

    def _is_leaving(self, line: AssignedInstance) -> bool:
        one = self.seen.get(line.id)
        if line.goal is Goal.RUN:
            # Wanted again, but what runs may still be what is ending.
            ends = one is not None and one.state in (State.DRAINING, State.STOPPING)
            return ends or self._drains.is_drained(line.id)
        return not self.current if one is None else not one.state.over
