"""The rows themselves, findable by id, by namespace, role and release, and in the order of their revisions.

Note [Order when it is asked for]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A row is written far more often than all rows are listed. So a write keeps no order: new ids wait beside the sorted ones
until the next listing of many, and a row that is replaced stays where it is in the list by revisions, which only ever
grows at its end, until there are so many of those that it is swept. Nor is order made of many at once: when too many
ids wait, they are put in their places, so that no reader has to wait for that.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, MutableMapping
from itertools import chain

from sortedcontainers import SortedDict, SortedList

from deployd.model.registration import Registration
from deployd.registry.filter import Near, RowFilter

# From so many candidates on it is cheaper to walk all rows in their order than to sort the candidates for each page.
_MANY = 4000
# So many times as long takes it to sort ids as to walk through those that are sorted.
_SORTING = 3
# So many new or removed ids wait to be put in their places.
_UNSORTED = 5000
# So few are looked at as they are; so many pairs of sets at the most are intersected to have fewer.
_FEW = 100
_PAIRS = 1000
# So many rows that are none any more may stand in the list by revisions, beside a quarter of those that are.
_STALE = 1000

Index = MutableMapping[str, set[str]]


class Rows:
    """Rows by id, for readers who page through them in the order of their ids or of their revisions.

    ``rows`` are given in the order of their revisions.
    """

    def __init__(self, rows: Iterable[Registration] = ()) -> None:
        self._by_id: dict[str, Registration] = {}
        self._by_revision: list[Registration] = []
        # Sorted, as commits are looked for by their beginnings.
        self._namespaces: SortedDict = SortedDict()
        self._roles: Index = {}
        self._apps: dict[str, Index] = {}
        self._ids: SortedList = SortedList()
        self._fresh: set[str] = set()
        self._gone: set[str] = set()
        for row in rows:
            self._put(row)
        self._sort()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, row_id: str) -> Registration | None:
        return self._by_id.get(row_id)

    def put(self, row: Registration) -> None:
        """``row`` instead of an earlier one of its id; its revision is higher than any other's."""
        self._put(row)
        if len(self._fresh) >= _UNSORTED:
            self._sort()

    def remove(self, row_id: str) -> Registration:
        row = self._by_id.pop(row_id)
        self._leave(row)
        if len(self._gone) >= _UNSORTED:
            self._sort()
        return row

    def candidates(self, wanted: RowFilter) -> list[Registration]:
        """Rows as they are now, by id, among which are all that ``wanted`` takes; quickly made."""
        found = self._narrowest(wanted)
        if found is None or (_size(found) > _FEW and _size(found) * _SORTING > len(self._by_id)):
            self._sort()
            return list(map(self._by_id.__getitem__, self._ids))
        return list(map(self._by_id.__getitem__, sorted(chain.from_iterable(found))))

    def is_large(self, wanted: RowFilter) -> bool:
        """Whether many rows have to be looked at for all that ``wanted`` takes."""
        found = self._narrowest(wanted)
        return found is None or _size(found) > _MANY

    def matching(self, wanted: RowFilter) -> Iterator[Registration]:
        """The rows that ``wanted`` takes, in no order; the table must not change meanwhile."""
        found = self._narrowest(wanted)
        rows = map(self._by_id.__getitem__, self._by_id if found is None else chain.from_iterable(found))
        return filter(wanted.takes, rows)

    def places(self, wanted: RowFilter, near: Near, after: str = "") -> Iterator[tuple[str, Registration | None]]:
        """The rows that ``wanted`` takes, those that are ``near`` first, then by id; each with its place.

        Rows after the place ``after``; "" is before the first. Places of rows that are not wanted come too, without
        these, so that whoever reads may stop there.
        """
        nearest = near.narrowed(wanted)
        if not after.startswith("1") and nearest is not None:
            for row_id in self._candidates(nearest, after[1:]):
                row = self._by_id[row_id]
                yield "0" + row_id, row if near.has(row) and wanted.takes(row) else None
        for row_id in self._candidates(wanted, after[1:] if after.startswith("1") else ""):
            row = self._by_id[row_id]
            yield "1" + row_id, row if not near.has(row) and wanted.takes(row) else None

    def since(self, revision: int, wanted: RowFilter) -> Iterator[Registration]:
        """Rows with later revisions, in that order, among which are all that ``wanted`` takes.

        The table must not change meanwhile.
        """
        found = self._narrowest(wanted)
        if found is not None and _size(found) <= _MANY:
            rows = (self._by_id[row_id] for row_id in chain.from_iterable(found))
            return iter(sorted((row for row in rows if row.revision > revision), key=_revision))
        return self._walk(bisect_right(self._by_revision, revision, key=_revision))

    def _put(self, row: Registration) -> None:
        old = self._by_id.get(row.id)
        if old is None:
            self._enter(row)
        elif not _same_place(old, row):
            self._leave(old)
            self._enter(row)
        self._by_id[row.id] = row
        self._by_revision.append(row)
        if len(self._by_revision) > len(self._by_id) * 1.25 + _STALE:
            self._by_revision = [row for row in self._by_revision if self._by_id.get(row.id) is row]

    def _walk(self, start: int) -> Iterator[Registration]:
        for index in range(start, len(self._by_revision)):
            row = self._by_revision[index]
            if self._by_id.get(row.id) is row:
                yield row

    def _candidates(self, wanted: RowFilter, after: str) -> Iterator[str]:
        """Ids after ``after``, in order, among which are all that ``wanted`` takes."""
        found = self._narrowest(wanted)
        if found is None or _size(found) > _MANY:
            self._sort()
            return iter(self._ids.irange(after, inclusive=(False, True)))
        return iter(sorted(row_id for row_id in chain.from_iterable(found) if row_id > after))

    def _narrowest(self, wanted: RowFilter) -> list[set[str]] | None:
        """Ids among which are all that ``wanted`` takes, as disjoint sets; None when those are all."""
        choices: list[list[set[str]]] = []
        if wanted.role:
            choices.append([self._roles.get(wanted.role, set())])
        if wanted.exact_namespace:
            choices.append([self._namespaces.get(wanted.exact_namespace, set())])
        elif wanted.namespace:
            names = self._namespaces.irange(wanted.namespace, wanted.namespace + "g")
            choices.append([self._namespaces[name] for name in names if wanted.takes_namespace(name)])
        if wanted.app:
            releases = self._apps.get(wanted.app, {})
            choices.append([releases.get(wanted.release, set())] if wanted.release else list(releases.values()))
        choices.sort(key=_size)
        if not choices:
            return None
        narrowest, *others = choices
        for other in others:
            # Two large sets may have little in common; Python finds out far sooner than a walk through the rows.
            if _size(narrowest) > _FEW and len(narrowest) * len(other) <= _PAIRS:
                narrowest = [one & two for one in narrowest for two in other]
        return narrowest

    def _enter(self, row: Registration) -> None:
        row_id = row.id
        _add(self._namespaces, row.namespace, row_id)
        _add(self._roles, row.role, row_id)
        if row.app:
            _add(self._apps.setdefault(row.app, {}), row.release, row_id)
        if row_id in self._gone:
            self._gone.discard(row_id)
        else:
            self._fresh.add(row_id)

    def _leave(self, row: Registration) -> None:
        row_id = row.id
        _discard(self._namespaces, row.namespace, row_id)
        _discard(self._roles, row.role, row_id)
        if row.app:
            _discard(self._apps[row.app], row.release, row_id)
            if not self._apps[row.app]:
                del self._apps[row.app]
        if row_id in self._fresh:
            self._fresh.discard(row_id)
        else:
            self._gone.add(row_id)

    def _sort(self) -> None:
        """Note [Order when it is asked for]."""
        if len(self._gone) * 4 > len(self._ids):
            self._ids = SortedList(self._by_id)
        else:
            for row_id in self._gone:
                self._ids.remove(row_id)
            self._ids.update(self._fresh)
        self._gone.clear()
        self._fresh.clear()


def _size(sets: list[set[str]]) -> int:
    return sum(map(len, sets))


def _revision(row: Registration) -> int:
    return row.revision


def _same_place(old: Registration, new: Registration) -> bool:
    return old.namespace == new.namespace and old.role == new.role and old.app == new.app and old.release == new.release


def _add(index: Index, key: str, row_id: str) -> None:
    ids = index.get(key)
    if ids is None:
        index[key] = {row_id}
    else:
        ids.add(row_id)


def _discard(index: Index, key: str, row_id: str) -> None:
    ids = index[key]
    ids.discard(row_id)
    if not ids:
        del index[key]
