"""The registry: the row book with a clock, its sessions' connections, and those who wait for rows."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd.errors import PermissionRefused
from deployd.model.address import is_loopback
from deployd.model.registration import Registration, host_name, owner_name
from deployd.model.revision import Revision
from deployd.net.secret import Secret, drone_credential
from deployd.registry.book import Book, Seat, Transaction
from deployd.registry.filter import Near, RowFilter
from deployd.registry.history import History, Page, document
from deployd.registry.position import Position
from deployd.registry.waiting import WaitingRoom
from deployd.registry.watching import Watchers

MAX_WATCH = 30.0


class Registry(Service):
    """What the registry does, whoever asks and however.

    ``timeout`` (seconds) is how long rows outlive a lost session; ``advertise`` is the host of rows whose owner is on
    this machine and names none. ``clock`` must be monotonic.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        book: Book,
        secret: Secret | None = None,
        timeout: float = 45.0,
        advertise: str = "",
        waiting: WaitingRoom | None = None,
        watchers: Watchers | None = None,
        history: History | None = None,
    ) -> None:
        self._clock = clock
        self._secret = secret
        self._timeout = timeout
        self._advertise = advertise
        self._book = book
        self._waiting = waiting or WaitingRoom(clock)
        self._watchers = watchers or Watchers(clock)
        self._history = history or History(book.table, book.revision)
        self._hang_up: dict[str, Callable[[], None]] = {}
        self._next_fall: IDelayedCall | None = None

    def startService(self) -> None:
        super().startService()
        self._plan()

    def stopService(self) -> Any:
        stopping = super().stopService()
        self._waiting.close()
        self._watchers.close()
        self._plan()
        return stopping

    # Readers.

    @property
    def revision(self) -> Revision:
        return self._book.revision

    def rows(self, wanted: RowFilter, after: str = "") -> Iterable[Registration]:
        return self._book.rows(wanted, after)

    def candidates(self, wanted: RowFilter) -> list[Registration]:
        """The rows as they are now, among which are those that ``wanted`` takes, by id."""
        return self._book.table.candidates(wanted)

    def is_marked(self, row: Registration) -> bool:
        """Whether the row's owner is away."""
        return self._book.is_marked(row)

    def document(self, row: Registration) -> dict[str, Any]:
        """A row as readers get it; ``marked``: its owner is away."""
        return document(row) | {"marked": self._book.is_marked(row)}

    def wait(self, wanted: RowFilter, seconds: float, address: str) -> Deferred[bool]:
        """Whether there is a row that ``wanted`` takes, now or within ``seconds``; raise Busy."""
        if any(True for _ in self._book.rows(wanted)):
            return succeed(True)
        return self._waiting.wait(wanted, seconds, address)

    def query(self, wanted: RowFilter, near: Near, after: str = "") -> Iterator[tuple[str, Registration]]:
        """The rows that match, those near first, each with its place; read it before the table changes."""
        return self._book.table.near_first(wanted, near, after)

    async def follow(
        self, position: Position | None, wanted: RowFilter, seconds: float, who: object, address: str
    ) -> Page:
        """What comes after ``position`` (None: from nowhere), at the latest after ``seconds`` or once ``who`` leaves.

        Raise Busy. ``address`` is where ``who`` watches from.
        """
        page = self._history.after(position, wanted)
        if page.lines or not page.whole or not seconds > 0 or not self.running:
            return page
        before = await self._watchers.wait(wanted, min(seconds, MAX_WATCH), who, address)
        # Until then nothing changed that is wanted, however much else did.
        number = self._history.revision.number if before is None else before
        return self._history.after(Position(page.position.epoch, number), wanted)

    def stop_watching(self, who: object) -> None:
        self._watchers.leave(who)

    # Owners.

    def attach(
        self, owner: str, name: str, credential: bytes, advertise: str, peer_host: str, hang_up: Callable[[], None]
    ) -> Seat:
        """A new session of ``owner``; the connection of its earlier one is closed with that one's ``hang_up``."""
        if not owner:
            raise PermissionRefused("only an owner with a key of its own may register")
        host = self._row_host(peer_host, host_name(advertise) if advertise else "")
        accepted = hmac.compare_digest(credential, drone_credential(self._secret, owner))
        if credential and not accepted:
            self._log.warn("{name} ({owner}) brings a credential of another hub", name=name[:80], owner=owner)
        seat = self._book.attach(owner, owner_name(name), host, accepted, self._clock.seconds())
        earlier = self._hang_up.pop(owner, None)
        self._hang_up[owner] = hang_up
        if earlier is not None:
            self._log.info("a newer session of {name} ({owner}) takes over", name=name, owner=owner)
            earlier()
        self._plan()
        return seat

    def working(self, seat: Seat) -> None:
        """A part of a first publication came in."""
        self._book.heard(seat, self._clock.seconds())

    def publish(self, seat: Seat, rows: Sequence[Registration]) -> Revision:
        return self._changed(self._book.publish(seat, rows))

    def update(self, seat: Seat, put: Sequence[Registration], free: Sequence[str]) -> Revision:
        return self._changed(self._book.update(seat, put, free))

    def leave(self, seat: Seat) -> None:
        change = self._book.leave(seat)
        self._hang_up.pop(seat.owner, None)
        self._changed(change)
        self._log.info("{name} said goodbye: {count} rows are free", name=seat.name, count=len(change.changes))

    def lost(self, seat: Seat) -> None:
        """The session's connection is gone."""
        if self._book.lose(seat, self._clock.seconds()):
            self._hang_up.pop(seat.owner, None)
            self._log.info("lost {name} ({owner})", name=seat.name, owner=seat.owner)
            self._plan()

    def _row_host(self, peer_host: str, advertise: str) -> str:
        peer = _plain(peer_host)
        here = not peer or is_loopback(peer)
        # What an owner elsewhere calls loopback is not ours.
        if advertise and (here or not is_loopback(advertise)):
            return advertise
        return (self._advertise or "127.0.0.1") if here else peer

    def _changed(self, done: Transaction) -> Revision:
        self._history.add(done.changes)
        self._watchers.changed(done.changes)
        self._waiting.rows_put(change.row for change in done.changes if not change.freed)
        return done.revision

    def _plan(self) -> None:
        """See to it that ``_expire`` runs when the next rows may fall, while the service runs.

        Called when a lease may end sooner than planned for; one that is renewed costs an ``_expire`` in vain.
        """
        if self._next_fall is not None and self._next_fall.active():
            self._next_fall.cancel()
        self._next_fall = None
        at = self._book.next_fall(self._timeout) if self.running else None
        if at is not None:
            self._next_fall = self._clock.callLater(max(0.0, at - self._clock.seconds()), self._expire)

    def _expire(self) -> None:
        change = self._book.expire(self._clock.seconds(), self._timeout)
        self._changed(change)
        if change.changes:
            owners = {freed.row.drone or freed.row.owner for freed in change.changes}
            self._log.info("{count} rows of {owners} fell", count=len(change.changes), owners=", ".join(sorted(owners)))
        self._plan()


def _plain(host: str) -> str:
    """An IPv4 address that an IPv6 socket shows as ``::ffff:1.2.3.4``, as itself."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else host
