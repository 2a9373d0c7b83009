"""The owners of rows: who is there, who is away, and whose rows fall.

Note [Rows belong to the owner]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A row outlives the session that wrote it, and the registry's process too. ``attach`` starts a newer session of an owner
and makes its earlier one powerless at once, but the owner's rows stay as they are until the new one publishes all of
them or confirms that they are right: nobody who reads meanwhile sees a gap. A lost session only marks the rows; they
fall when the owner has been away for the timeout, or at once when it says goodbye. A session that attached and has done
neither does not stand for them yet: they stay marked, and fall if it takes longer than the timeout. Of rows that were
in the store at the start, the owner counts as lost since then.
"""

from __future__ import annotations

from collections.abc import Iterable

from deployd.errors import Superseded
from deployd.interfaces import SavedTable
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.planning.leases import Leases
from deployd.registry.limits import Limits
from deployd.registry.owner import Owner, Presence, Seat


class Owners:
    """Those with a session or with rows; ``saved`` is what was in the store, at the moment ``now``."""

    def __init__(self, saved: SavedTable, limits: Limits, now: float) -> None:
        self._limits = limits
        self._owners: dict[str, Owner] = {}
        self._leases = Leases()
        self._seats = 0
        # Whose rows are on their way out because it was away too long: until which change, and since when.
        self._fallen: dict[str, tuple[int, float]] = {}
        self._load(saved, now)

    def __len__(self) -> int:
        return len(self._owners)

    @property
    def lost(self) -> int:
        """How many are away while they have rows."""
        return len(self._leases)

    @property
    def lost_rows(self) -> int:
        """How many rows they have."""
        return sum(len(self._owners[name].ids) for name in self._leases)

    @property
    def meta(self) -> int:
        """How many bytes of metadata all rows have; a walk over all owners."""
        return sum(owner.meta for owner in self._owners.values())

    def is_marked(self, row: Registration) -> bool:
        """Whether the row's owner is away, and the row falls unless it comes back."""
        return row.owner in self._leases or row.owner not in self._owners

    # Sessions.

    def attach(self, owner: str, name: str, host: str, accepted: bool, now: float) -> Seat:
        """A new session of ``owner``, which supersedes its earlier one."""
        known = self._owners.get(owner)
        if known is None:
            self._limits.check_owners(len(self._owners))
            known = self._owners[owner] = Owner()
        self._seats += 1
        known.seat, known.presence = Seat(owner, self._seats, name, host, accepted), Presence.ATTACHED
        if known.ids:
            self._leases.lose(owner, now)
        return known.seat

    def present(self, seat: Seat) -> Owner:
        """The owner whose newest session this is; raise Superseded for any other."""
        owner = self._owners.get(seat.owner)
        if owner is None or (owner.seat is seat and owner.presence is Presence.AWAY):
            raise Superseded("this session of the owner has ended; attach again")
        if owner.seat is not seat:
            raise Superseded()
        return owner

    def heard(self, seat: Seat, now: float) -> None:
        """The session is at work on its first publication: the owner's time starts anew."""
        self.present(seat)
        if seat.owner in self._leases:
            self._leases.lose(seat.owner, now)

    def stand(self, seat: Seat) -> None:
        """The session stands for the owner's rows."""
        self.present(seat).presence = Presence.STANDING
        self._leases.keep(seat.owner)

    def lose(self, seat: Seat, now: float) -> bool:
        """The session's link is gone: mark its rows. False when it was superseded or has left before."""
        owner = self._owners.get(seat.owner)
        if owner is None or owner.seat is not seat or owner.presence is Presence.AWAY:
            return False
        owner.presence = Presence.AWAY
        if owner.ids:
            self._leases.lose(seat.owner, now)
        else:
            del self._owners[seat.owner]
        return True

    def leave(self, seat: Seat) -> set[str]:
        """An orderly goodbye; the ids of its rows, which it has no longer."""
        self.present(seat).presence = Presence.AWAY
        self._leases.keep(seat.owner)
        return self._forget(seat.owner)

    # Falling.

    def next_fall(self, timeout: float) -> float | None:
        """When the next owner's rows may fall."""
        return self._leases.next_fall(timeout)

    def any_fallen(self, now: float, timeout: float) -> bool:
        """Whether there may be rows that count as gone although they are still in the table."""
        at = self._leases.next_fall(timeout)
        return bool(self._fallen) or (at is not None and at <= now)

    def is_fallen(self, row: Registration, now: float, timeout: float) -> bool:
        """Whether this is one."""
        return row.owner in self._fallen or self._leases.is_due(row.owner, now, timeout)

    def fall(self, now: float, timeout: float, number: int) -> set[str]:
        """The ids of the rows of those that have been away for ``timeout``, which they have no longer.

        Where those are very many, it is some; ``number`` is that of the last change before they are freed.
        """
        falling: dict[str, float] = {}
        ids: set[str] = set()
        for name in self._leases.due(now, timeout):
            if ids and len(ids) + len(self._owners[name].ids) > self._limits.falling:
                break
            since = self._leases.keep(name)
            falling[name] = now if since is None else since
            ids |= self._forget(name)
        self._fallen.update((name, (number + len(ids), since)) for name, since in falling.items())
        return ids

    def settle(self, number: int) -> None:
        """All that was decided up to this change is saved."""
        if self._fallen:
            self._fallen = {name: fallen for name, fallen in self._fallen.items() if fallen[0] > number}

    def undo(
        self,
        undone: Iterable[RowChange],
        rows: Iterable[Registration],
        owners: Iterable[str],
        settled: int,
        now: float,
    ) -> list[str]:
        """``undone`` will not be, and ``rows`` stay; nor will be what ``owners`` were told. All whom that concerns.

        No session of theirs stands for their rows any more, as it holds true what is not.
        """
        concerned = {name for name in owners if name in self._owners}
        for change in undone:
            concerned.add(change.row.owner)
            if not change.freed:
                self._owner(change.row.owner).drop(change.row)
        for row in rows:
            concerned.add(row.owner)
            self._owner(row.owner).take(row)
        fallen, self._fallen = self._fallen, {}
        lost: dict[str, float] = {}
        for name in concerned:
            owner = self._owner(name)
            owner.changed, owner.written = settled, None
            away = owner.presence is Presence.AWAY
            if not away:
                owner.presence = Presence.ATTACHED
            if owner.ids:
                lost[name] = fallen[name][1] if away and name in fallen else now
                continue
            self._leases.keep(name)
            if away:
                del self._owners[name]
        self._leases.lose_again(lost)
        return sorted(concerned)

    # The rest.

    def _load(self, saved: SavedTable, now: float) -> None:
        for row in saved.rows:
            self._owner(row.owner).found(row)
        # What was freed before the oldest change that is known may have been any owner's.
        first = saved.number - len(saved.changes)
        for name, owner in self._owners.items():
            owner.changed = max(owner.changed, first)
            self._leases.lose(name, now)
        for change in saved.changes:
            known = self._owners.get(change.row.owner)
            if known is not None:
                known.changed = max(known.changed, change.number)

    def _owner(self, name: str) -> Owner:
        owner = self._owners.get(name)
        if owner is None:
            owner = self._owners[name] = Owner()
        return owner

    def _forget(self, name: str) -> set[str]:
        owner = self._owners[name]
        ids, owner.ids, owner.meta, owner.written = owner.ids, set(), 0, None
        if owner.presence is Presence.AWAY:
            del self._owners[name]
        return ids
