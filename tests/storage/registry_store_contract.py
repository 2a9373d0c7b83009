"""What the registry relies on in a store; every store passes (design rule 8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from deployd.errors import Busy, Superseded
from deployd.interfaces import RegistryStore, SavedTable
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange

COMMIT = "74336bc1db98478e02e69f59e7100895be207389"


def row(row_id: str = "http-1", port: int = 20001, **changes: Any) -> Registration:
    plain = {"id": row_id, "namespace": COMMIT, "role": "http", "host": "192.0.2.1", "port": port, "app": "webapp"}
    return Registration(**(plain | {"release": "v1", "drone": "d1", "owner": "o1"} | changes))


# Puts and frees together: of the rows with these places, with this port.
Step = tuple[tuple[int, int], tuple[int, int], int]
_span = st.tuples(st.integers(0, 700), st.integers(0, 300)).map(lambda span: (span[0], sum(span)))
lives = st.lists(st.lists(st.tuples(_span, _span, st.integers(1, 65535)), max_size=8), min_size=1, max_size=4)


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
    """A test case mixes it in and gives the following.

    ``reopened`` does not close the given store: it may be taken for one that was killed, or for a rival.
    """

    def new(self: Any, max_changes: int = 1000, number: int = 0) -> RegistryStore:
        """A store on nothing, or on a table without rows that has come to ``number``."""
        raise AssertionError("the test case says how")

    def reopened(self: Any, store: Any) -> RegistryStore:
        """A store on what the given one left."""
        raise AssertionError("the test case says how")

    def fill(self: Any, store: Any) -> None:
        """The disk is full, or the like."""
        raise AssertionError("the test case says how")

    def make_room(self: Any, store: Any) -> None:
        """It is not any more."""
        raise AssertionError("the test case says how")

    # What the tests say it with.

    def opened(self: Any, store: RegistryStore) -> SavedTable:
        table: SavedTable = self.successResultOf(store.open())
        return table

    def begun(self: Any, *how: int) -> RegistryStore:
        store: RegistryStore = self.new(*how)
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

    def test_many_changes_are_saved_together(self: Any) -> None:
        store = self.begun(10_000)
        changes = changes_after(0, *(row(f"r{number}") for number in range(2500)))
        self.saved(store, changes)
        self.assertEqual(self.found(store).changes, tuple(changes))
        more = changes_after(2500, *(row(f"s{number}", meta={"text": "x" * 100}) for number in range(2500)))
        self.fill(store)
        self.failureResultOf(store.save(more), Busy)
        self.make_room(store)
        self.assertEqual(self.found(store).number, 2500)
        self.saved(store, more)
        self.assertEqual(self.found(store).changes, (*changes, *more))

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

    def test_nothing_to_save_is_saved(self: Any) -> None:
        store = self.begun()
        self.saved(store, ())
        self.assertEqual(self.found(store).number, 0)

    def test_what_cannot_be_saved_is_not_there_and_can_be_tried_again(self: Any) -> None:
        store = self.begun()
        first = changes_after(0, row("a"))
        self.saved(store, first)
        self.fill(store)
        more = changes_after(1, *(row(f"b{number}", meta={"text": "x" * 4000}) for number in range(200)))
        sentence = str(self.failureResultOf(store.save(more), Busy).value)
        self.assertNotIn("\n", sentence)
        self.make_room(store)
        self.assertEqual(self.found(store).changes, tuple(first))
        self.saved(store, more)
        self.assertEqual(self.found(store).changes, (*first, *more))

    def test_opening_changes_nothing(self: Any) -> None:
        store = self.begun()
        self.saved(store, changes_after(0, row("a"), row("b")))
        found = self.found(store)
        for _ in range(3):
            store = self.reopened(store)
            self.assertEqual(self.opened(store), found)
            self.successResultOf(store.close())

    def test_any_text_and_any_json_come_back_as_they_were(self: Any) -> None:
        meta = {
            "": [None, True, False, 0, -1, 1.5, 1e300, -0.0, 2**80, "ключ", "\ud800", "\x00\u2028'\"\\"],
            "\udfff": {"deep": [[[[[{}]]]]]},
            "number": 123456789012345678,
        }
        strange = row("a:b._-", 65535, meta=meta, host="fe80::1%eth0", version="1.2.3-rc.1+5", app="team/webapp")
        plain = Registration("x", "default", "db", "h", 1)
        large = row("large", meta={"x": "é" * 600, "y" * 400: list(range(100))})
        store = self.begun()
        changes = changes_after(0, strange, plain, large)
        self.saved(store, changes)
        found = self.found(store)
        self.assertEqual(found.changes, tuple(changes))
        kinds = [type(item) for item in found.rows[0].meta[""]]
        self.assertEqual(kinds, [type(item) for item in meta[""]])
        self.assertEqual(str(found.rows[0].meta[""][7]), "-0.0")

    def test_numbers_may_have_eighteen_digits(self: Any) -> None:
        last = 10**18 - 1
        store = self.begun(1000, last - 2)
        self.assertEqual(self.found(store), SavedTable(self.found(store).epoch, last - 2))
        put = changes_after(last - 2, row("a"))
        self.saved(store, put)
        self.saved(store, changes_after(last - 1, freeing(put[0].row)))
        found = self.found(store)
        self.assertEqual((found.number, found.changes[-1].row.revision, len(found.changes)), (last, last - 1, 2))

    def test_the_newest_changes_are_kept_and_every_row(self: Any) -> None:
        store = self.begun(300)
        rows = [row(f"r{number}") for number in range(1000)]
        self.saved(store, changes_after(0, *rows))
        for number in range(1000, 3000, 100):
            again = [row(f"r{place}", 20002) for place in range(number % 700, number % 700 + 100)]
            self.saved(store, changes_after(number, *again))
        found = self.found(store)
        self.assertEqual({each.id for each in found.rows}, {each.id for each in rows})
        revisions = [each.revision for each in found.rows]
        self.assertEqual(revisions, sorted(revisions))
        numbers = [change.number for change in found.changes]
        self.assertEqual(numbers, list(range(3000 - len(numbers) + 1, 3001)))
        self.assertGreaterEqual(len(numbers), 300)
        # The next life goes on in the same way.
        again = self.reopened(store)
        self.assertEqual(self.opened(again), found)
        self.saved(again, changes_after(3000, *(freeing(each) for each in found.rows)))
        empty = self.found(again)
        self.assertEqual((empty.rows, empty.number), ((), 4000))


def check_it_is_as_a_model_says(
    test: Any, opened: Callable[[], RegistryStore], lives: Sequence[Sequence[Step]]
) -> None:
    """A property: of the store that ``opened`` gives for each life, on the same place and nothing at first."""
    rows: dict[str, Registration] = {}
    told: list[RowChange] = []
    epochs = set()
    for steps in lives:
        store = opened()
        table = test.successResultOf(store.open())
        epochs.add(table.epoch)
        test.assertEqual(table.rows, tuple(sorted(rows.values(), key=lambda row: row.revision)))
        test.assertEqual(table.number, len(told))
        test.assertEqual(list(table.changes), told[len(told) - len(table.changes) :])
        test.assertGreaterEqual(len(table.changes), min(len(told), 600))
        for put, free, port in steps:
            gone = [freeing(rows.pop(f"r{place}")) for place in range(*free) if f"r{place}" in rows]
            changes = changes_after(len(told), *gone, *(row(f"r{place}", port) for place in range(*put)))
            test.successResultOf(store.save(changes))
            told += changes
            rows.update((change.row.id, change.row) for change in changes if not change.freed)
    test.assertEqual(len(epochs), 1)
