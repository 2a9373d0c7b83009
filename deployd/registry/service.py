"""The registry: the row book with a clock, a store, its sessions' connections, and those who wait for rows."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from deployd.errors import DeploydError, PermissionRefused, Superseded
from deployd.interfaces import RegistryStore, SavedTable
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, host_name, owner_name
from deployd.model.revision import NOW, Revision
from deployd.model.row_change import RowChange
from deployd.net.secret import Secret, drone_credential
from deployd.net.turns import Turns
from deployd.registry.book import Book, Transaction
from deployd.registry.falling import Falling
from deployd.registry.filter import Near, RowFilter
from deployd.registry.history import History, Page
from deployd.registry.hosts import row_host
from deployd.registry.limits import Limits
from deployd.registry.owner import Seat
from deployd.registry.position import Position
from deployd.registry.publication import Publications
from deployd.registry.saving import Saving
from deployd.registry.sessions import Sessions
from deployd.registry.tally import Tally
from deployd.registry.waiting import WaitingRoom
from deployd.registry.watching import Watchers
from deployd.wire.rows import document

MAX_WATCH = 30.0
# So long an orderly end waits for the disk.
MAX_ENDING = 10.0

T = TypeVar("T")


class Registry(Service):
    """What the registry does, whoever asks and however. ``open`` comes first.

    ``timeout`` (seconds) is how long rows outlive a lost session; ``advertise`` is the host of rows whose owner is on
    this machine and names none. ``clock`` must be monotonic. ``fail`` is called when the registry cannot go on.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: RegistryStore,
        secret: Secret | None = None,
        timeout: float = 45.0,
        advertise: str = "",
        limits: Limits | None = None,
        waiting: WaitingRoom | None = None,
        watchers: Watchers | None = None,
        fail: Callable[[DeploydError], None] = lambda error: None,
    ) -> None:
        self._clock = clock
        self._store = store
        self._secret = secret
        self._timeout = timeout
        self._advertise = advertise
        self.limits = limits or Limits()
        self.publications = Publications(self.limits)
        self._fail = fail
        self._waiting = waiting or WaitingRoom(clock)
        self._watchers = watchers or Watchers(clock)
        self._turns = Turns(clock)
        self._saving = Saving(clock, store, self._settle, self._undo, self._drop)
        self._sessions = Sessions()
        self._tally = Tally()
        self._falling = Falling(clock, lambda: self._book.owners.next_fall(timeout), self._expire)
        self._load(SavedTable("", 0))

    def open(self) -> Deferred[None]:
        """Read what is in the store; fails with Refused or Busy."""
        return self._store.open().addCallback(self._load)

    def _load(self, saved: SavedTable) -> None:
        if saved.restored:
            self._log.warn("the table was put back from a backup: a new epoch begins, {epoch}", epoch=saved.epoch)
        self._book = Book(saved, self.limits, self._clock.seconds())
        self._history = History(self._book.table, self._book.revision, saved.changes)
        # The daemon starts its services while the table is read: of owners that never come back nobody else tells.
        self._falling.plan()

    def startService(self) -> None:
        super().startService()
        self._falling.start()

    def stopService(self) -> Deferred[None]:
        """Fires once all that was decided is saved and the store is closed, or if the disk does not answer."""
        super().stopService()
        self._waiting.close()
        self._watchers.close()
        self._falling.stop()
        ending = self._saving.end().addCallback(lambda _: self._store.close())
        return ending.addTimeout(MAX_ENDING, self._clock, self._unsaved)

    def _unsaved(self, _: object, seconds: float) -> None:
        self._log.error("the registry's disk has not answered for {seconds:g} seconds: ending without", seconds=seconds)

    # Readers.

    @property
    def revision(self) -> Revision:
        """Up to which everything is saved and seen."""
        return self._history.revision

    @property
    def trouble(self) -> str:
        """Why nothing could be written the last time, if that is not long ago; "" when all is well."""
        return self._saving.trouble

    def figures(self) -> dict[str, float]:
        """What there is to count, by name (docs/reference, Metrics)."""
        owners, saving = self._book.owners, self._saving
        return {
            "rows": len(self._book.table),
            "marked_rows": owners.lost_rows,
            "owners": len(owners),
            "lost_owners": owners.lost,
            "sessions": len(self._sessions),
            "watchers": self._watchers.count,
            "waiters": self._waiting.count,
            "revision": self.revision.number,
            "history_changes": len(self._history),
            "saves": saving.figures.saves,
            "save_seconds": saving.figures.seconds,
            "last_save_seconds": saving.figures.last_seconds,
            "queued": saving.queued,
            "up": 0 if saving.trouble else 1,
            **self._tally.shown(),
        }

    def rows(self, wanted: RowFilter) -> Iterable[Registration]:
        """The rows that match, in no order; read it before the table changes."""
        return self._present(self._book.table.matching(wanted))

    def candidates(self, wanted: RowFilter) -> list[Registration]:
        """The rows as they are now, among which are those that ``wanted`` takes, by id."""
        return list(self._present(self._book.table.candidates(wanted)))

    def is_large(self, wanted: RowFilter) -> bool:
        """Whether many rows have to be looked at for all that ``wanted`` takes."""
        return self._book.table.is_large(wanted)

    def is_marked(self, row: Registration) -> bool:
        """Whether the row's owner is away."""
        return self._book.is_marked(row)

    def document(self, row: Registration) -> dict[str, Any]:
        """A row as readers get it; ``marked``: its owner is away."""
        return document(row) | {"marked": self._book.is_marked(row)}

    def places(self, wanted: RowFilter, near: Near, after: str = "") -> Iterator[tuple[str, Registration | None]]:
        """The rows that match, those near first, each with its place; places of others have none.

        Read it before the table changes.
        """
        places = self._book.table.places(wanted, near, after)
        now, timeout, owners = self._clock.seconds(), self._timeout, self._book.owners
        if not owners.any_fallen(now, timeout):
            return places
        return ((at, None if row is None or owners.is_fallen(row, now, timeout) else row) for at, row in places)

    async def wait(self, wanted: RowFilter, seconds: float, address: str) -> bool:
        """Whether there is a row that ``wanted`` takes, now or within ``seconds``; raise Busy."""
        places = partial(self.places, wanted, Near())
        return await self._waiting.find(places, wanted, seconds, address)

    def position(self, text: str) -> Position | None:
        """Where ``text`` says that somebody is, or that he wants to be: NOW. None for what is no position."""
        revision = self.revision
        return Position(revision.epoch, revision.number) if text == NOW else Position.parse(text)

    async def follow(
        self, position: Position | None, wanted: RowFilter, seconds: float, who: object, address: str
    ) -> Page:
        """What comes after ``position`` (None: from nowhere), at the latest after ``seconds`` or once ``who`` leaves.

        Raise Busy. ``address`` is where ``who`` watches from.
        """
        page = self._history.after(position, wanted)
        while not page.is_news and page.position.number < self._history.revision.number:
            # There is more, of which nothing was wanted so far.
            await self._turns.next()
            page = self._history.after(page.position, wanted)
        if page.is_news or not seconds > 0 or not self.running:
            return page
        known = page.position.number
        woken = await self._watchers.wait(wanted, min(seconds, MAX_WATCH), who, address, known)
        return self._history.after(Position(page.position.epoch, woken.number), wanted)

    def stop_watching(self, who: object) -> None:
        self._watchers.leave(who)

    # Owners.

    def attach(
        self, owner: str, name: str, credential: bytes, advertise: str, peer_host: str, hang_up: Callable[[], None]
    ) -> Seat:
        """A new session of ``owner``; the connection of its earlier one is closed with that one's ``hang_up``."""
        if not owner:
            raise PermissionRefused("only an owner with a key of its own may register")
        host = row_host(peer_host, host_name(advertise) if advertise else "", self._advertise)
        accepted = hmac.compare_digest(credential, drone_credential(self._secret, owner))
        if credential and not accepted:
            self._log.warn("{name} ({owner}) brings a credential of another hub", name=name[:80], owner=owner)
        seat = self._book.attach(owner, owner_name(name), host, accepted, self._clock.seconds())
        if self._sessions.begin(seat, hang_up):
            self._log.info("a newer session of {name} ({owner}) takes over", name=name, owner=owner)
        self._falling.plan()
        return seat

    def stands(self, seat: Seat) -> Deferred[Revision]:
        """Where the owner's rows last changed, once that is saved; fails with Superseded, Busy."""
        settled = self._saving.take(Transaction(self._book.revision), seat.owner)
        return settled.addCallback(lambda _: self._book.stands(seat))

    def working(self, seat: Seat) -> None:
        """A part of a first publication came in."""
        self._book.owners.heard(seat, self._clock.seconds())

    def admit(self, seat: Seat, rows: Sequence[Registration]) -> Sequence[Registration]:
        """Rows of a publication, looked at as they come in; raise what ``Book.admit`` does."""
        return self._counted(lambda: self._book.admit(seat, rows))

    def replace(self, seat: Seat, rows: Sequence[Registration]) -> Deferred[Transaction]:
        """All rows of the owner, admitted; fires once that is saved. Raise a refusal."""
        return self._write(seat, lambda: self._book.replace(seat, rows))

    def publish(self, seat: Seat, rows: Sequence[Registration]) -> Deferred[Transaction]:
        return self._write(seat, lambda: self._book.publish(seat, rows))

    def confirm(self, seat: Seat, stands: Revision) -> Deferred[Transaction]:
        return self._write(seat, lambda: self._book.confirm(seat, stands))

    def update(self, seat: Seat, put: Sequence[Registration], free: Sequence[str]) -> Deferred[Transaction]:
        return self._write(seat, lambda: self._book.update(seat, put, free))

    def leave(self, seat: Seat) -> Deferred[Transaction]:
        leaving = self._write(seat, lambda: self._book.leave(seat))
        self._log.info("{name} says goodbye", name=seat.name)
        return leaving

    def lost(self, seat: Seat) -> None:
        """The session's connection is gone."""
        self._sessions.end(seat)
        if self._book.owners.lose(seat, self._clock.seconds()):
            self._log.info("lost {name} ({owner})", name=seat.name, owner=seat.owner)
            self._falling.plan()

    # What becomes of what they write (Note [One save at a time]).

    def _write(self, seat: Seat, decide: Callable[[], Transaction]) -> Deferred[Transaction]:
        self._saving.check()
        return self._saving.take(self._counted(decide), seat.owner)

    def _counted(self, decide: Callable[[], T]) -> T:
        try:
            return decide()
        except (DeploydError, Invalid):
            self._tally.refusals += 1
            raise

    def _settle(self, changes: Sequence[RowChange]) -> None:
        self._book.settle(changes)
        self._history.add(changes)
        self._tally.settled(changes)
        self._watchers.changed(changes)
        self._waiting.changed(changes)

    def _undo(self, owners: list[str]) -> list[str]:
        return self._book.undo(self.revision.number, owners, self._clock.seconds())

    def _drop(self, owners: list[str], error: DeploydError) -> None:
        """These hold true what was not saved; whoever comes back publishes."""
        for owner in owners:
            self._sessions.hang_up(owner)
        self._falling.plan_anew()
        if isinstance(error, Superseded):
            self._fail(error)

    def _present(self, rows: Iterable[Registration]) -> Iterable[Registration]:
        """Without those whose time is over although nobody could say so yet: this process may have been stopped."""
        now, timeout, owners = self._clock.seconds(), self._timeout, self._book.owners
        if not owners.any_fallen(now, timeout):
            return rows
        return (row for row in rows if not owners.is_fallen(row, now, timeout))

    # Falling.

    def _expire(self) -> Deferred[Transaction] | None:
        done = self._book.expire(self._clock.seconds(), self._timeout)
        return self._saving.take(done).addCallback(self._fell) if done.changes else None

    def _fell(self, done: Transaction) -> Transaction:
        count = len(done.changes)
        self._tally.fell(count)
        owners = sorted({freed.row.drone or freed.row.owner for freed in done.changes})
        shown = ", ".join(owners[:5]) + (f" and {len(owners) - 5} more" if len(owners) > 5 else "")
        self._log.info("{count} rows of {owners} fell", count=count, owners=shown)
        return done
