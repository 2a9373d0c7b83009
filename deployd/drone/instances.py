"""All instances of one drone: takes assignments, and does what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from functools import singledispatchmethod
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.checkouts import Checkouts
from deployd.drone.instance import Instance
from deployd.drone.journal import Contents, Entry, Journal
from deployd.drone.logs import Logs
from deployd.drone.means import Means
from deployd.errors import Refused
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.revision import Revision
from deployd.planning import reconcile
from deployd.processes.ending import ToThread

FOR_EVER = 2**62
STOP_LIMIT = 60.0


class Instances:
    """``to_journal`` runs the journal's methods in their own thread; ``changed`` is called when ``observed`` may have
    changed.

    Note [From the journal]
    ~~~~~~~~~~~~~~~~~~~~~~~
    A drone that starts brings back what ran before, without asking the hub. Processes of its last life may still run,
    so every instance of the journal first ends whatever has its PROCESS_ID, and starts then: never two of one.
    """

    _log = Logger()

    def __init__(
        self,
        means: Means,
        journal: Journal,
        to_journal: ToThread,
        checkouts: Checkouts,
        logs: Logs,
        changed: Callable[[], None],
    ) -> None:
        self._means = means
        self._journal = journal
        self._to_journal = to_journal
        self._checkouts = checkouts
        self._logs = logs
        self._changed = changed
        self._all: dict[str, Instance] = {}
        self._lines: tuple[AssignedInstance, ...] | None = None
        self._following = True
        self._met = ""
        self.revision = Revision("", 0)

    # What the service asks.

    def recall(self, contents: Contents) -> None:
        """Go on where the last life of the drone ended."""
        self.revision = revision = contents.revision
        self._met = revision.epoch
        for entry in contents.entries:
            self._all[entry.line.id] = Instance(self._means, entry, fresh=False, changed=self._instance_changed)
        if revision.number:
            now = (revision.epoch, revision.number)
            self._lines = tuple(entry.line for entry in contents.entries if (entry.epoch, entry.number) == now)
        self._reconcile()

    async def meet(self, epoch: str) -> None:
        """A hub of ``epoch`` has accepted the drone; raise Refused if that cannot be saved."""
        # Before it is saved: the hub's first assignment may come meanwhile, and is saved after this.
        self._met = epoch
        if epoch != self.revision.epoch:
            if self.revision.epoch:
                self._log.info("this hub is of a new epoch: what it does not know runs on as orphans")
            await self._save(Revision(epoch, 0), ())
            self.revision, self._lines = Revision(epoch, 0), None
            self._reconcile()

    async def take(self, revision: Revision, lines: tuple[AssignedInstance, ...]) -> None:
        """Follow an assignment, once it is saved; an older one than the drone has is let pass. Raise Refused.

        One of another hub than the drone has met last is not saved either: it would be the truth after a restart.
        """
        if revision.epoch != self._met:
            raise Refused("an assignment of another hub; join again")
        if revision.epoch == self.revision.epoch and revision.number < self.revision.number:
            return
        await self._save(revision, lines)
        # AMP's answer goes out first: spawning takes milliseconds.
        self._means.reactor.callLater(0, self._follow, revision, lines)

    def _follow(self, revision: Revision, lines: tuple[AssignedInstance, ...]) -> None:
        # With the revision, since a report between the two would show old states as those of this assignment.
        if revision.epoch == self.revision.epoch and revision.number >= self.revision.number:
            self.revision, self._lines = revision, lines
            self._reconcile()

    def observed(self) -> tuple[ObservedInstance, ...]:
        return tuple(instance.observed() for _, instance in sorted(self._all.items()))

    def all(self) -> Collection[Instance]:
        return list(self._all.values())

    def stop_all(self) -> Deferred[Any]:
        """End every instance for now, each as in a planned stop; fires once nothing runs, after a minute at most."""
        self._following = False
        running = [instance for instance in self._all.values() if instance.state != "stopped"]
        ended = [instance.ended() for instance in running]
        for instance in running:
            instance.stop(instance.line)
        # One that hangs in the kernel cannot be killed, and must not keep the drone.
        ending = DeferredList(ended, consumeErrors=True).addTimeout(STOP_LIMIT, self._means.reactor)
        return ending.addCallback(lambda _: self._say_left([each for each in running if each.state != "stopped"]))

    def leave_all(self) -> None:
        """Follow nothing any more; what runs runs on."""
        self._following = False
        for instance in self._all.values():
            instance.leave()

    def look_again(self) -> None:
        """The checkouts on disk are others now: one whose release is gone meanwhile is deleted."""
        self._means.reactor.callLater(0, self._reconcile)

    # How that is done.

    def _say_left(self, running: Collection[Instance]) -> None:
        for seen in (instance.observed() for instance in running):
            self._log.warn("{id} does not end: its process {pid} is left", id=seen.id, pid=seen.pid or "of before")

    def _save(self, revision: Revision, lines: Collection[AssignedInstance]) -> Deferred[Any]:
        return self._to_journal(self._journal.take, revision, lines)

    def _instance_changed(self, instance: Instance) -> None:
        self._changed()
        if self._following and instance.state == "stopped":
            self._means.reactor.callLater(0, self._reconcile)

    def _reconcile(self) -> None:
        if not self._following:
            return
        known = [instance.known() for instance in self._all.values()]
        for step in reconcile.steps(self.revision.epoch, self._lines, known, self._checkouts.keys()):
            self._log.debug("{step}", step=step)
            self._apply(step)
        self._changed()

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
        self._logs.release(step.id)
        # An assignment that has it again may be on its way to the journal already.
        until = self.revision if instance.epoch == self.revision.epoch else Revision(instance.epoch, FOR_EVER)
        self._quietly(self._to_journal(self._journal.forget, step.id, until))

    @_apply.register
    def _remove_checkout(self, step: reconcile.RemoveCheckout) -> None:
        self._quietly(self._checkouts.remove(step.key))

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
