"""The rows themselves, findable by id, by namespace, by role, and in the order of their revisions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sortedcontainers import SortedDict

from deployd.model.registration import Registration
from deployd.registry.filter import Near, RowFilter

# From so many candidates on it is cheaper to walk all rows in their order than to sort the candidates for each page.
_MANY = 4000


class Rows:
    """Rows by id, kept in the order of their ids and of their revisions so that a reader can page through them."""

    def __init__(self) -> None:
        self._by_id: SortedDict = SortedDict()
        self._by_revision: SortedDict = SortedDict()
        self._namespaces: dict[str, set[str]] = {}
        self._roles: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, row_id: str) -> Registration | None:
        row: Registration | None = self._by_id.get(row_id)
        return row

    def put(self, row: Registration) -> None:
        if row.id in self._by_id:
            self.remove(row.id)
        self._by_id[row.id] = row
        self._by_revision[row.revision] = row
        self._namespaces.setdefault(row.namespace, set()).add(row.id)
        self._roles.setdefault(row.role, set()).add(row.id)

    def remove(self, row_id: str) -> Registration:
        row: Registration = self._by_id.pop(row_id)
        del self._by_revision[row.revision]
        _leave(self._namespaces, row.namespace, row_id)
        _leave(self._roles, row.role, row_id)
        return row

    def candidates(self, wanted: RowFilter) -> list[Registration]:
        """Rows by id as they are now, among which are all that ``wanted`` takes; quickly made."""
        found = self._narrowest(wanted)
        if found is None:
            return list(self._by_id.values())
        return [self._by_id[row_id] for row_id in sorted(found)]

    def matching(self, wanted: RowFilter, after: str = "") -> Iterator[Registration]:
        """The rows that ``wanted`` takes, by id, those after ``after``; the table must not change meanwhile."""
        for row_id in self._candidates(wanted, after):
            row = self._by_id[row_id]
            if wanted.takes(row):
                yield row

    def near_first(self, wanted: RowFilter, near: Near, after: str = "") -> Iterator[tuple[str, Registration]]:
        """The rows that ``wanted`` takes, those that are ``near`` first, then by id; each with its place.

        Rows after the place ``after``; "" is before the first.
        """
        nearest = near.narrowed(wanted)
        if not after.startswith("1") and nearest is not None:
            for row in self.matching(nearest, after[1:]):
                if near.has(row) and wanted.takes(row):
                    yield "0" + row.id, row
        for row in self.matching(wanted, after[1:] if after.startswith("1") else ""):
            if not near.has(row):
                yield "1" + row.id, row

    def since(self, revision: int, wanted: RowFilter) -> Iterator[Registration]:
        """Rows with later revisions, in that order, among which are all that ``wanted`` takes.

        The table must not change meanwhile.
        """
        found = self._narrowest(wanted)
        if found is None or len(found) > _MANY:
            numbers = self._by_revision.irange(revision, inclusive=(False, True))
            return (self._by_revision[number] for number in numbers)
        rows = (self._by_id[row_id] for row_id in found)
        return iter(sorted((row for row in rows if row.revision > revision), key=lambda row: row.revision))

    def _candidates(self, wanted: RowFilter, after: str) -> Iterator[str]:
        """Ids after ``after``, in order, among which are all that ``wanted`` takes."""
        found = self._narrowest(wanted)
        if found is None or len(found) > _MANY:
            return iter(self._by_id.irange(after, inclusive=(False, True)))
        return iter(sorted(row_id for row_id in found if row_id > after))

    def _narrowest(self, wanted: RowFilter) -> set[str] | None:
        sets = [self._roles.get(wanted.role, set())] if wanted.role else []
        if wanted.exact_namespace:
            sets.append(self._namespaces.get(wanted.exact_namespace, set()))
        elif wanted.namespace and not sets:
            found = [ids for namespace, ids in self._namespaces.items() if wanted.takes_namespace(namespace)]
            return set(chain.from_iterable(found))
        return min(sets, key=len, default=None)


def _leave(index: dict[str, set[str]], key: str, row_id: str) -> None:
    ids = index[key]
    ids.discard(row_id)
    if not ids:
        del index[key]
