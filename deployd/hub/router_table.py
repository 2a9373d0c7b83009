"""What routers are told: the whole of it, or what has changed since they were told last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from attrs import field, frozen

from deployd.model.revision import Revision
from deployd.model.route import Route, RouteKey, RouteLine
from deployd.model.router import DroneHost, ReleaseKey, TableItem
from deployd.wire.paging import pages

Pages = list[tuple[TableItem, ...]]


@frozen(slots=False, eq=False)
class Table:
    """One revision of the table of routes. ``routes`` is the ledger's own mapping; ``drones`` has hosts by owner.

    Note [Compared by identity]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~
    A route that did not change is the same object in every later state of the ledger. So what is new among ten thousand
    is found without comparing settings, and is made into JSON once for all routers that follow the same table.
    """

    revision: Revision = field(factory=lambda: Revision("", 0))
    routes: Mapping[RouteKey, Route] = field(factory=dict)
    drones: Mapping[str, str] = field(factory=dict)
    leaving: frozenset[str] = frozenset()
    retiring: frozenset[ReleaseKey] = frozenset()

    def says_the_same(self, other: Table) -> bool:
        """Whether a router that follows one of them follows the other."""
        return self.leaving == other.leaving and self.retiring == other.retiring and self.routes_the_same(other)

    def routes_the_same(self, other: Table) -> bool:
        """Whether it sends the same requests to the same releases, whatever ends meanwhile."""
        is_there = self.drones is other.drones or self.drones == other.drones
        return is_there and next(_changed(other.routes, self.routes), None) is None

    def pages(self, base: Table | None) -> Pages:
        """Everything, or what a router that follows ``base`` has to be told."""
        key = -1 if base is None else base.revision.number
        if key not in self._pages:
            since = Table() if base is None else base
            routes, drones = _changed(since.routes, self.routes), _moved(since.drones, self.drones)
            self._pages[key] = pages([*routes, *drones, *self._stopping()])
        return self._pages[key]

    @cached_property
    def _pages(self) -> dict[int, Pages]:
        """By the number of the base; there are as many as routers that are behind, each in its own way."""
        return {}

    def _stopping(self) -> Iterator[TableItem]:
        for id in sorted(self.leaving):
            yield TableItem(leaving=id)
        for release in sorted(self.retiring):
            yield TableItem(retiring=release)


def _changed(before: Mapping[RouteKey, Route], after: Mapping[RouteKey, Route]) -> Iterator[TableItem]:
    if before is after:
        return
    kept = 0
    for key, route in after.items():
        old = before.get(key)
        kept += old is not None
        # Where only the history or a promotion is another, routers have nothing to do.
        if old is not route and (old is None or old.setting != route.setting):
            yield TableItem(route=RouteLine(key, route.setting))
    if kept < len(before):
        yield from (TableItem(gone=key) for key in before if key not in after)


def _moved(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[TableItem]:
    for owner, host in after.items():
        if before.get(owner) != host:
            yield TableItem(drone=DroneHost(owner, host))
    yield from (TableItem(lost=owner) for owner in before if owner not in after)
