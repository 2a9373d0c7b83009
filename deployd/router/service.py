"""The router: what hub and registry say, on its way to the disk and to whoever serves."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import Tally
from deployd.model.router import Standing, TableItem
from deployd.router.belief import RowChanges
from deployd.router.saved import Contents
from deployd.router.saving import RowSaving, Save
from deployd.router.table import Table
from deployd.router.workers import Workers

PATIENCE = 3.0
HUB, REGISTRY = "hub", "registry"


class Router:
    """``save`` runs methods of the saved table in a thread, in order. ``workers`` is None where one process serves.

    ``changed`` is called when the router stands elsewhere, ``ready`` once, when there is a table to serve by.

    Note [What was saved may be old]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Routes may have changed while this router was away, and whoever changed them was told that every live router
    follows; a port may belong to another app now. So a router that starts serves once hub and registry have told it
    what is. Only where one cannot be reached, or has not done so for PATIENCE seconds, it serves by what it saved.
    """

    def __init__(self, clock: IReactorTime, table: Table, save: Save, changed: Callable[[], None]) -> None:
        self.table = table
        self.workers: Workers | None = None
        self.ready: Deferred[None] = Deferred()
        self.has_table = False
        self._clock = clock
        self._awaited = {HUB, REGISTRY}
        self._patience: IDelayedCall | None = None
        self._save = save
        self._changed = changed
        self._rows = RowSaving(clock, save)
        table.fallen = self._fallen
        table.on_quiet.append(changed)

    def recall(self, contents: Contents) -> None:
        """Begin with what was saved."""
        self.table.restore(contents.table, contents.items, contents.registry, contents.rows)
        self._patience = self._clock.callLater(PATIENCE, self._heard, HUB, REGISTRY)

    def hub_away(self) -> None:
        """It cannot be reached."""
        self._heard(HUB)

    # What the hub says and hears (deployd.router.hub_link.Follower).

    async def follow(self, revision: Revision, base: int, items: tuple[TableItem, ...]) -> None:
        """Save and follow; raise Refused if it could not be saved: it is followed all the same."""
        saving = self._save("follow", revision, base, items)
        self.table.follow(revision, items, not base)
        if self.workers is not None:
            await self.workers.follow(revision, items, not base)
        self._heard(HUB)
        await saving
        self._changed()

    def standing(self) -> Standing:
        own = self.table.standing()
        return own if self.workers is None else self.workers.standing(own)

    def urgent(self) -> bool:
        return bool(self.table.leaving or self.table.retiring)

    def tallies(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        return self.table.tallies(since) if self.workers is None else self.workers.tallies(since)

    # What the registry says (deployd.router.registry_link.RowReader).

    def reset_rows(self, rows: tuple[Registration, ...], revision: Revision, same_epoch: bool) -> None:
        self._took(self.table.rows_replaced(rows, revision), revision)
        self._heard(REGISTRY)

    def change_rows(self, put: tuple[Registration, ...], gone: tuple[str, ...], revision: Revision) -> None:
        self._took(self.table.rows_changed(put, gone, revision), revision)

    def registry_lost(self) -> None:
        self.table.registry_lost()
        self._heard(REGISTRY)

    # The end.

    async def close(self) -> None:
        """Save what waits."""
        self._end_patience()
        await self._rows.close()

    def _took(self, changes: RowChanges, revision: Revision) -> None:
        self._rows.changed(changes, revision)
        if self.workers is not None:
            self.workers.change_rows(changes.put, changes.gone, revision)
        self._changed()

    def _fallen(self, changes: RowChanges) -> None:
        self._took(changes, self.table.registry)

    def _heard(self, *who: str) -> None:
        """Of those nothing is waited for any more (Note [What was saved may be old])."""
        self._awaited.difference_update(who)
        if not self._awaited:
            self._end_patience()
            if self.table.table.number and not self.has_table:
                self.has_table = True
                self.ready.callback(None)

    def _end_patience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None
