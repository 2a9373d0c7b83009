"""The table's rows beside a plain list of them, and how many are looked at for a question."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.registry.filter import Near, RowFilter
from deployd.registry.rows import Rows
from tests.registry.rows import COMMIT, OTHER, ordered, row

TWIN = COMMIT[:10] + "0" * 30
NAMESPACES = (COMMIT, TWIN, OTHER, "default", COMMIT[:8], "cafe")
ROLES = ("http", "say", "db")
APPS = (("", ""), ("webapp", "v1"), ("webapp", "v2"), ("team/webapp", "v1"))

ROWS = st.builds(
    lambda row_id, namespace, role, place, version, zone: row(
        row_id, namespace=namespace, role=role, app=place[0], release=place[1], version=version, meta={"zone": zone}
    ),
    st.text("abc", min_size=1, max_size=2),
    st.sampled_from(NAMESPACES),
    st.sampled_from(ROLES),
    st.sampled_from(APPS),
    st.sampled_from(["", "1.0.0", "2.0.0-beta"]),
    st.integers(0, 1),
)
# A row is put; an id is taken away if it is there.
STEPS = st.lists(ROWS | st.text("abc", min_size=1, max_size=2), max_size=40)
FILTERS = st.builds(
    lambda match, namespace, place, release, meta: RowFilter.parse(
        match, namespace, place[0], place[1] if release else "", meta
    ),
    st.sampled_from(["", "http", "say", "db@*", "http@^1", "nobody"]),
    st.sampled_from(["", "", *NAMESPACES, COMMIT[:4], COMMIT[:12], "caf", "nowhere", "ffff"]),
    st.sampled_from([*APPS, ("nobody", "v1")]),
    st.booleans(),
    st.sampled_from([{}, {}, {"zone": 1}, {"zone": "0"}]),
)
NEARS = st.sampled_from([Near(), Near(COMMIT), Near("default"), Near(app="webapp", release="v1"), Near(COMMIT[:8])])


class Model:
    """The same as a dict of rows, searched through for everything."""

    def __init__(self) -> None:
        self.rows: dict[str, Registration] = {}
        self.number = 0

    def put(self, one: Registration) -> Registration:
        self.number += 1
        self.rows[one.id] = evolve(one, revision=self.number)
        return self.rows[one.id]

    def matching(self, wanted: RowFilter, after: str = "") -> list[Registration]:
        return sorted((r for r in self.rows.values() if wanted.takes(r) and r.id > after), key=lambda r: r.id)

    def near_first(self, wanted: RowFilter, near: Near) -> list[Registration]:
        return sorted(self.matching(wanted), key=lambda r: not near.has(r))

    def since(self, revision: int, wanted: RowFilter) -> list[Registration]:
        return sorted((r for r in self.matching(wanted) if r.revision > revision), key=lambda r: r.revision)


def both(steps: list[Registration | str]) -> tuple[Rows, Model]:
    table, model = Rows(), Model()
    for step in steps:
        if isinstance(step, Registration):
            table.put(model.put(step))
        elif step in model.rows:
            model.number += 1
            assert table.remove(step) == model.rows.pop(step)
    return table, model


def near_first(table: Rows, wanted: RowFilter, near: Near, after: str = "") -> Iterator[tuple[str, Registration]]:
    """The rows that are wanted, with their places."""
    return ((place, found) for place, found in table.places(wanted, near, after) if found is not None)


def matching(table: Rows, wanted: RowFilter, after: str = "") -> list[Registration]:
    """The rows that are wanted, by id."""
    return [found for _, found in near_first(table, wanted, Near(), f"1{after}")]


def paged(table: Rows, wanted: RowFilter, near: Near, size: int) -> list[Registration]:
    """All that matches, read in pages of ``size``."""
    found: list[Registration] = []
    after = ""
    while page := list(islice(near_first(table, wanted, near, after), size)):
        found += [one for _, one in page]
        after = page[-1][0]
    return found


class ModelTests(SynchronousTestCase):
    @given(STEPS, FILTERS, st.text("abc", max_size=2))
    def test_rows_match_in_the_order_of_their_ids(
        self, steps: list[Registration | str], wanted: RowFilter, after: str
    ) -> None:
        table, model = both(steps)
        self.assertEqual(len(table), len(model.rows))
        self.assertEqual(matching(table, wanted, after), model.matching(wanted, after))
        self.assertEqual([r for r in table.candidates(wanted) if wanted.takes(r)], model.matching(wanted))
        self.assertEqual(ordered(table.matching(wanted)), model.matching(wanted))
        for row_id in ("a", "b", "ab"):
            self.assertEqual(table.get(row_id), model.rows.get(row_id))

    @given(STEPS, FILTERS, NEARS, st.integers(1, 7))
    def test_pages_of_any_size_are_the_whole_with_the_near_first(
        self, steps: list[Registration | str], wanted: RowFilter, near: Near, size: int
    ) -> None:
        table, model = both(steps)
        self.assertEqual(paged(table, wanted, near, size), model.near_first(wanted, near))

    @given(STEPS, STEPS, FILTERS, NEARS, st.integers(1, 5))
    def test_what_stays_is_read_once_while_the_table_changes(
        self,
        steps: list[Registration | str],
        later: list[Registration | str],
        wanted: RowFilter,
        near: Near,
        size: int,
    ) -> None:
        """Between two pages rows come and go: those that were there all the while are read, and none twice."""
        table, model = both(steps)
        page = list(islice(near_first(table, wanted, near), size))
        touched = set()
        for step in later:
            row_id = step.id if isinstance(step, Registration) else step
            touched.add(row_id)
            if isinstance(step, Registration):
                table.put(model.put(step))
            elif table.get(row_id) is not None:
                table.remove(row_id)
                del model.rows[row_id]
        rest = list(near_first(table, wanted, near, page[-1][0])) if page else []
        places = [place for place, _ in [*page, *rest]]
        self.assertEqual(places, sorted(set(places)))
        if page:
            stayed = {one.id for one in model.matching(wanted)} - touched
            self.assertLessEqual(stayed, {one.id for _, one in [*page, *rest]})

    @given(STEPS, FILTERS, st.integers(0, 40))
    def test_what_changed_since_comes_in_the_order_of_revisions(
        self, steps: list[Registration | str], wanted: RowFilter, revision: int
    ) -> None:
        table, model = both(steps)
        found = list(table.since(revision, wanted))
        self.assertEqual([r for r in found if wanted.takes(r)], model.since(revision, wanted))
        numbers = [r.revision for r in found]
        self.assertEqual(numbers, sorted(set(numbers)))

    @given(STEPS)
    def test_a_table_made_at_once_is_the_same(self, steps: list[Registration | str]) -> None:
        table, model = both(steps)
        again = Rows(model.since(0, RowFilter()))
        self.assertEqual(matching(again, RowFilter()), matching(table, RowFilter()))
        self.assertEqual(list(again.since(0, RowFilter())), list(table.since(0, RowFilter())))

    def test_large_parts_with_little_in_common_are_the_same(self) -> None:
        steps: list[Registration | str] = [
            row(f"r{n}", role=ROLES[n % 3], app="webapp", release=f"v{n % 7}", namespace=NAMESPACES[n % 5])
            for n in range(3000)
        ]
        table, model = both(steps)
        for wanted in (
            RowFilter(role="http", app="webapp"),
            RowFilter(role="http", app="webapp", namespace=COMMIT[:10]),
            RowFilter(role="say", app="webapp", release="v3", namespace="default"),
        ):
            self.assertEqual(matching(table, wanted), model.matching(wanted))

    def test_so_many_that_they_are_walked_are_the_same(self) -> None:
        steps: list[Registration | str] = [row(f"r{n:05}", role=("http", "say")[n % 8 == 0]) for n in range(0, 6000)]
        steps += [f"r{n:05}" for n in range(0, 6000, 7)]
        steps += [row(f"s{n:05}", namespace=OTHER) for n in range(10)]
        table, model = both(steps)
        for wanted in (RowFilter(), RowFilter(role="http"), RowFilter(role="say"), RowFilter(app="webapp")):
            self.assertEqual(paged(table, wanted, Near(OTHER), 999), model.near_first(wanted, Near(OTHER)))
            found = [one for one in table.since(5990, wanted) if wanted.takes(one)]
            self.assertEqual(found, model.since(5990, wanted))
            self.assertEqual(list(filter(wanted.takes, table.candidates(wanted))), model.matching(wanted))


class Counted(RowFilter):
    """Counts the rows that it is shown."""

    looked = 0

    def takes(self, row: Registration) -> bool:
        Counted.looked += 1
        return super().takes(row)


class CostTests(SynchronousTestCase):
    """Twenty times as many rows cost a question nothing, as long as it is about the same few."""

    def table(self, others: int) -> Rows:
        """Thirty rows among so many others."""
        rows = [row(f"o{n}", revision=n + 1, namespace=f"{n:040x}", app=f"a{n % 97}") for n in range(others)]
        few = [row(f"f{n}", n + 1, revision=others + n + 1, role="say", version="1.2.0") for n in range(30)]
        return Rows([*rows, *few])

    def looked(self, table: Rows, wanted: RowFilter, near: Near) -> int:
        Counted.looked = 0
        self.assertEqual(len(list(near_first(table, wanted, near))), 30)
        return Counted.looked

    def test_a_question_looks_at_few_rows_however_many_there_are(self) -> None:
        small, large = self.table(500), self.table(10_000)
        for wanted, near in (
            (Counted(role="say"), Near()),
            (Counted(role="say", versions="^1"), Near(COMMIT)),
            (Counted(namespace=COMMIT), Near()),
            (Counted(namespace=COMMIT[:7]), Near(app="webapp", release="v1")),
            (Counted(app="webapp"), Near()),
            (Counted(app="webapp", release="v1", role="say"), Near()),
            (Counted(role="say", namespace=COMMIT[:7]), Near()),
        ):
            many = self.looked(large, wanted, near)
            self.assertEqual(many, self.looked(small, wanted, near), wanted)
            self.assertLessEqual(many, 60, wanted)

    def test_what_matches_nothing_is_found_out_at_once(self) -> None:
        rows = [row(f"h{n}", n + 1, revision=n + 1, app="many") for n in range(5000)]
        rows += [row(f"w{n}", n + 1, revision=5000 + n, role="worker", app="webapp") for n in range(5000)]
        table = Rows(rows)
        for wanted in (
            Counted(role="nobody"),
            Counted(app="nobody"),
            Counted(namespace="ffffff"),
            # Many have this role, and many are of that app, but none both.
            Counted(role="http", app="webapp"),
            Counted(role="worker", app="many", release="v1"),
        ):
            Counted.looked = 0
            self.assertEqual(matching(table, wanted), [])
            self.assertEqual(Counted.looked, 0, wanted)
