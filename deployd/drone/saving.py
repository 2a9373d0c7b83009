"""Writing into the journal without stopping for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from deployd.drone.journal import Journal
from deployd.drone.life import Life
from deployd.model.instance import AssignedInstance
from deployd.model.revision import Revision
from deployd.processes.ending import ToThread


class Saving:
    """``to_journal`` runs the journal's methods in one thread, in the order of the calls.

    Note [Lives are saved together]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Each transaction waits for the disk, and five hundred starts come together. So what instances save in one turn of
    the reactor, and while a transaction is on the way, is one transaction; of an instance the newest counts. Whoever
    saved hears of it when his own, or a newer one of the same instance, is on disk. All else that is written goes
    after what was saved before it.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, journal: Journal, to_journal: ToThread) -> None:
        self._clock = clock
        self._journal = journal
        self._to_journal = to_journal
        self._lives: dict[str, Life] = {}
        self._waiting: list[Deferred[None]] = []
        self._busy = False

    def save(self, id: str, life: Life) -> Deferred[None]:
        """Fires once it is on disk; fails with Refused. Cancelling only stops waiting."""
        waiter: Deferred[None] = Deferred()
        self._lives[id] = life
        self._waiting.append(waiter)
        if not self._busy:
            self._busy = True
            self._clock.callLater(0, self._write)
        return waiter

    def take(self, revision: Revision, lines: Iterable[AssignedInstance]) -> Deferred[None]:
        return self._run(self._journal.take, revision, lines)

    def forget(self, id: str, until: Revision) -> Deferred[None]:
        return self._run(self._journal.forget, id, until)

    def note(self, **facts: str) -> Deferred[None]:
        return self._run(self._journal.note, **facts)

    def close(self) -> Deferred[None]:
        return self._run(self._journal.close)

    def _run(self, write: Any, *arguments: Any, **options: Any) -> Deferred[Any]:
        self._flush()
        return self._to_journal(write, *arguments, **options)

    def _write(self) -> None:
        self._busy = bool(self._lives)
        self._flush().addCallback(lambda _: self._go_on())

    def _go_on(self) -> None:
        if self._busy:
            self._clock.callLater(0, self._write)

    def _flush(self) -> Deferred[None]:
        lives, self._lives = self._lives, {}
        waiting, self._waiting = self._waiting, []
        done: Deferred[None] = Deferred()
        if not lives:
            done.callback(None)
            return done

        def told(result: Any) -> None:
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(result)
            done.callback(None)

        self._to_journal(self._journal.save, lives).addBoth(told)
        return done
