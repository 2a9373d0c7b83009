"""The rows themselves, findable by id and by namespace."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from deployd.model.registration import Registration
from deployd.registry.filter import RowFilter


class Rows:
    """Rows by id, kept in the order of their ids so that a reader can page through them."""

    def __init__(self) -> None:
        self._by_id: dict[str, Registration] = {}
        self._order: list[str] = []
        self._namespaces: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, row_id: str) -> Registration | None:
        return self._by_id.get(row_id)

    def put(self, row: Registration) -> None:
        old = self._by_id.get(row.id)
        if old is None:
            insort(self._order, row.id)
        elif old.namespace != row.namespace:
            self._leave_namespace(old)
        self._by_id[row.id] = row
        self._namespaces.setdefault(row.namespace, set()).add(row.id)

    def remove(self, row_id: str) -> Registration:
        row = self._by_id.pop(row_id)
        del self._order[bisect_left(self._order, row_id)]
        self._leave_namespace(row)
        return row

    def matching(self, wanted: RowFilter, after: str = "") -> Iterator[Registration]:
        """The rows that ``wanted`` takes, by id, those after ``after``; the book must not change meanwhile."""
        ids = self._candidates(wanted)
        for index in range(bisect_right(ids, after), len(ids)):
            row = self._by_id[ids[index]]
            if wanted.takes_rest(row):
                yield row

    def _candidates(self, wanted: RowFilter) -> list[str]:
        if not wanted.namespace:
            return self._order
        if wanted.exact_namespace:
            return sorted(self._namespaces.get(wanted.exact_namespace, ()))
        found = [ids for namespace, ids in self._namespaces.items() if wanted.takes_namespace(namespace)]
        return sorted(row_id for ids in found for row_id in ids)

    def _leave_namespace(self, row: Registration) -> None:
        ids = self._namespaces[row.namespace]
        ids.discard(row.id)
        if not ids:
            del self._namespaces[row.namespace]
