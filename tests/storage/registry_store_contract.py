"""What the registry relies on in a store; every store passes (design rule 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from deployd.errors import Superseded
from deployd.interfaces import RegistryStore, SavedTable
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "192.0.2.1", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1", "drone": "d1", "owner": "o1"} | changes))


def changes_after(number: int, *made: Registration | RowChange) -> list[RowChange]:
    """Changes made together: rows are put; of a change that frees, only the row counts."""
    found = []
    for place, each in enumerate(made, number + 1):
        more = place < number + len(made)
        if isinstance(each, RowChange):
            found.append(RowChange(place, each.row, freed=True, more=more))
        else:
            found.append(RowChange(place, evolve(each, revision=place), more=more))
    return found


def freeing(row: Registration) -> RowChange:
    return RowChange(0, row, freed=True)


class RegistryStoreContract:
    """A test case mixes it in and gives ``new`` and ``reopened``, a store on what the given one left.

    ``reopened`` does not close the given one: it may be taken for killed, or for a rival.
    """

    def new(self: Any, max_changes: int = 1000) -> RegistryStore:
        raise AssertionError("the test case says how")

    def reopened(self: Any, store: Any) -> RegistryStore:
        raise AssertionError("the test case says how")

    # What the tests say it with.

    def opened(self: Any, store: RegistryStore) -> SavedTable:
        table: SavedTable = self.successResultOf(store.open())
        return table

    def begun(self: Any, max_changes: int = 1000) -> RegistryStore:
        store: RegistryStore = self.new(max_changes)
        self.opened(store)
        return store

    def saved(self: Any, store: RegistryStore, changes: Sequence[RowChange]) -> None:
        self.assertIsNone(self.successResultOf(store.save(changes)))

    def found(self: Any, store: Any) -> SavedTable:
        """What the next life finds."""
        table: SavedTable = self.opened(self.reopened(store))
        return table

    # The contract.

    def test_a_new_store_is_empty_and_starts_an_epoch(self: Any) -> None:
        one, other = (self.opened(self.new()) for _ in range(2))
        self.assertEqual(one, SavedTable(one.epoch, 0))
        self.assertNotEqual(one.epoch, other.epoch)
        self.assertGreaterEqual(len(one.epoch), 16)

    def test_what_was_saved_is_there_in_the_next_life(self: Any) -> None:
        store = self.begun()
        epoch = self.found(store).epoch
        first = changes_after(0, row("a"), row("b"))
        then = changes_after(2, row("c"))
        self.saved(store, first)
        self.saved(store, then)
        rows = tuple(change.row for change in (*first, *then))
        self.assertEqual(self.found(store), SavedTable(epoch, 3, rows, (*first, *then)))

    def test_rows_come_in_the_order_of_their_revisions(self: Any) -> None:
        store = self.begun()
        self.saved(store, changes_after(0, row("a"), row("b"), row("c")))
        self.saved(store, changes_after(3, row("a", 20009)))
        self.assertEqual([(each.id, each.revision) for each in self.found(store).rows], [("b", 2), ("c", 3), ("a", 4)])

    def test_a_freed_row_is_gone_and_its_change_says_what_was_there(self: Any) -> None:
        store = self.begun()
        put = changes_after(0, row("a"), row("b"))
        self.saved(store, put)
        freed = changes_after(2, freeing(put[0].row))
        self.saved(store, freed)
        table = self.found(store)
        self.assertEqual((table.rows, table.changes), ((put[1].row,), (*put, *freed)))
        self.assertEqual((table.changes[-1].row.revision, table.number), (1, 3))

    def test_a_writer_that_was_superseded_is_told_and_changes_nothing(self: Any) -> None:
        store = self.begun()
        self.saved(store, changes_after(0, row("a")))
        rival = self.reopened(store)
        self.opened(rival)
        self.saved(rival, changes_after(1, row("b")))
        self.failureResultOf(store.save(changes_after(1, row("mine"))), Superseded)
        self.failureResultOf(store.save(changes_after(5, row("mine"))), Superseded)
        self.assertEqual([each.id for each in self.found(store).rows], ["a", "b"])
        # Opened again, it goes on from there.
        self.assertEqual(self.opened(store).number, 2)
        self.saved(store, changes_after(2, row("c")))
        self.failureResultOf(rival.save(changes_after(2, row("d"))), Superseded)
