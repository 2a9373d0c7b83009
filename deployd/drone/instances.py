"""All instances of one drone: takes assignments, and does what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from functools import singledispatchmethod
from signal import SIGTERM
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.checkouts import Checkouts
from deployd.drone.course import Course
from deployd.drone.instance import Instance
from deployd.drone.journal import Contents, Entry
from deployd.drone.means import Means
from deployd.drone.saving import Saving
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.revision import Revision
from deployd.planning import reconcile
from deployd.planning.reconcile import CheckoutKey
from deployd.processes.trees import ProcessRef
from deployd.wire.keeping import Held

FOR_EVER = 2**62
STOP_LIMIT = 60.0


class Instances:
    """``changed`` is called when ``observed`` may have changed.

    Note [From the journal]
    ~~~~~~~~~~~~~~~~~~~~~~~
    A drone that starts goes on with what its keeper has, and brings back all else that ran before, without asking the
    hub. What of an instance is not known to the keeper may run all the same (a keeper that was killed), so whatever
    bears its mark is ended before it is started: never two of one.
    """

    _log = Logger()

    def __init__(
        self,
        means: Means,
        saving: Saving,
        checkouts: Checkouts,
        forget_release: Callable[[CheckoutKey], Coroutine[Any, Any, None]],
        changed: Callable[[], None],
    ) -> None:
        self._means = means
        self._saving = saving
        self._checkouts = checkouts
        self._forget_release = forget_release
        self._changed = changed
        self._course = Course(self)
        self._ending: Deferred[Any] = succeed(None)
        self._all: dict[str, Instance] = {}
        self._lines: tuple[AssignedInstance, ...] | None = None
        self._met = ""
        self.revision = Revision("", 0)

    # What the service asks.

    def recall(self, contents: Contents) -> None:
        """Go on where the last life of the drone ended."""
        self.revision = revision = contents.revision
        self._met = revision.epoch
        for entry in contents.entries:
            instance = Instance(self._means, entry, fresh=False, changed=self._instance_changed)
            self._all[entry.line.id] = instance
            instance.recall()
        if revision.number:
            now = (revision.epoch, revision.number)
            self._lines = tuple(entry.line for entry in contents.entries if (entry.epoch, entry.number) == now)
        for held in list(self._means.keeper.held()):
            if held.id not in self._all:
                self._quietly(self._sweep(held))
        for id in self._means.scratch.left() - self._all.keys():
            self._quietly(self._sweep_left(id))
        self._course.recalled()

    async def meet(self, epoch: str) -> None:
        """A hub of ``epoch`` has accepted the drone; raise Refused if that cannot be saved."""
        # Before it is saved: the hub's first assignment may come meanwhile, and is saved after this.
        self._met = epoch
        if epoch != self.revision.epoch:
            if self.revision.epoch:
                self._log.info("this hub is of a new epoch: what it does not know runs on as orphans")
            await self._saving.take(Revision(epoch, 0), ())
            self.revision, self._lines = Revision(epoch, 0), None
            self._course.look()

    async def take(self, revision: Revision, lines: tuple[AssignedInstance, ...]) -> None:
        """Follow an assignment, once it is saved; an older one than the drone has is let pass. Raise Refused.

        One of another hub than the drone has met last is not saved either: it would be the truth after a restart.
        """
        if revision.epoch != self._met:
            raise Refused("an assignment of another hub; join again")
        if revision.epoch == self.revision.epoch and revision.number < self.revision.number:
            return
        await self._saving.take(revision, lines)
        # AMP's answer goes out first: spawning takes milliseconds.
        self._means.reactor.callLater(0, self._follow, revision, lines)

    def _follow(self, revision: Revision, lines: tuple[AssignedInstance, ...]) -> None:
        # With the revision, since a report between the two would show old states as those of this assignment.
        if revision.epoch == self.revision.epoch and revision.number >= self.revision.number:
            self.revision, self._lines = revision, lines
            self._course.look()

    def observed(self) -> tuple[ObservedInstance, ...]:
        return tuple(instance.observed() for _, instance in sorted(self._all.items()))

    def all(self) -> Collection[Instance]:
        return list(self._all.values())

    def stop_all(self) -> Deferred[Any]:
        """End every instance for now, each as in a planned stop; fires once nothing runs, after a minute at most."""
        self._course.stop()
        return self._ending

    def leave_all(self) -> None:
        """Follow nothing any more; what runs runs on."""
        self._course.leave()

    def look_again(self) -> None:
        """The checkouts on disk are others now: one whose release is gone meanwhile is deleted."""
        self._means.reactor.callLater(0, self._course.look)

    # What its machine asks for.

    def enter(self, state: str) -> None:
        self._log.debug("the drone is {state}", state=state)

    def take_steps(self) -> None:
        known = [instance.known() for instance in self._all.values()]
        for step in reconcile.steps(self.revision.epoch, self._lines, known, self._checkouts.keys()):
            self._apply(step)
        self._changed()

    def end_all(self) -> None:
        running = [instance for instance in self._all.values() if instance.state != "stopped"]
        ended = [instance.ended() for instance in running]
        for instance in running:
            instance.stop(instance.line)
        # One that hangs in the kernel cannot be killed, and must not keep the drone.
        ending = DeferredList(ended, consumeErrors=True).addTimeout(STOP_LIMIT, self._means.reactor)
        self._ending = ending.addCallback(lambda _: self._say_left([one for one in running if one.state != "stopped"]))

    def let_go(self) -> None:
        for instance in self._all.values():
            instance.leave()

    # How that is done.

    def _say_left(self, running: Collection[Instance]) -> None:
        for seen in (instance.observed() for instance in running):
            self._log.warn("{id} does not end: its process {pid} is left", id=seen.id, pid=seen.pid or "of before")

    async def _sweep(self, held: Held) -> None:
        """End what the keeper has and the journal does not: what was to run once for somebody, most likely."""
        keeper = self._means.keeper
        if keeper.take_over(held.id, lambda _: keeper.forget(held.id)) is not None and held.ended:
            keeper.forget(held.id)
        keeper.unlisten(held.id)
        await self._means.end(held.id, ProcessRef(held.pid, held.created), 0.0, SIGTERM)

    async def _sweep_left(self, id: str) -> None:
        """The same where the keeper is another one by now: what ran had a temporary directory."""
        await self._means.end(id, None, 0.0)
        await self._means.to_thread(self._means.scratch.remove, id)

    def _instance_changed(self, instance: Instance) -> None:
        self._changed()
        if instance.state == "stopped":
            self._means.reactor.callLater(0, self._course.look)

    @singledispatchmethod
    def _apply(self, step: Any) -> None:
        raise TypeError(f"{step!r} is not a step")

    @_apply.register
    def _start(self, step: reconcile.Start) -> None:
        self._of(step.line).start(step.line)

    @_apply.register
    def _restart(self, step: reconcile.Restart) -> None:
        self._of(step.line).restart(step.line)

    @_apply.register
    def _drain(self, step: reconcile.Drain) -> None:
        self._of(step.line).drain(step.line)

    @_apply.register
    def _stop(self, step: reconcile.Stop) -> None:
        self._of(step.line).stop(step.line)

    @_apply.register
    def _adopt(self, step: reconcile.Adopt) -> None:
        instance = self._of(step.line)
        instance.epoch, instance.orphan = self.revision.epoch, False

    @_apply.register
    def _orphan(self, step: reconcile.Orphan) -> None:
        self._all[step.id].orphan = True

    @_apply.register
    def _forget(self, step: reconcile.Forget) -> None:
        instance = self._all.pop(step.id)
        instance.forget()
        # An assignment that has it again may be on its way to the journal already.
        until = self.revision if instance.epoch == self.revision.epoch else Revision(instance.epoch, FOR_EVER)
        self._quietly(self._saving.forget(step.id, until))

    @_apply.register
    def _remove_checkout(self, step: reconcile.RemoveCheckout) -> None:
        self._quietly(self._checkouts.remove(step.key))
        self._quietly(self._forget_release(step.key))

    def _of(self, line: AssignedInstance) -> Instance:
        """The instance of ``line``; a new one has no processes yet."""
        if line.id not in self._all:
            entry = Entry(line, self.revision.epoch, self.revision.number)
            self._all[line.id] = Instance(self._means, entry, fresh=True, changed=self._instance_changed)
        return self._all[line.id]

    def _quietly(self, work: Deferred[Any] | Coroutine[Any, Any, Any]) -> None:
        """What fails here is found again at the next start."""
        doing = Deferred.fromCoroutine(work) if isinstance(work, Coroutine) else work
        doing.addErrback(self._not_done)

    def _not_done(self, failure: Failure) -> None:
        self._log.warn("{error}", error=failure.value)
