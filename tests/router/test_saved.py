"""The last good table on disk: what is read is what was saved, whatever happened in between."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, ReleaseKey, TableItem
from deployd.router.saved import Contents, Saved

NEVER = Revision("", 0)


def route(host: str, release: str = "v1", path: str = "/") -> TableItem:
    setting = Setting("webapp", "http", (Share(release, 1),), preview=True)
    return TableItem(route=RouteLine(RouteKey(host, path), setting))


def gone(host: str) -> TableItem:
    return TableItem(gone=RouteKey(host))


def drone(owner: str, host: str = "10.0.0.1") -> TableItem:
    return TableItem(drone=DroneHost(owner, host))


def row(id: str, port: int = 20000) -> Registration:
    return Registration(id, "a" * 40, "http", "10.0.0.1", port, "webapp", "v1", owner="o")


def at(number: int, epoch: str = "e") -> Revision:
    return Revision(epoch, number)


LEAVING = TableItem(leaving="http-1")
RETIRING = TableItem(retiring=ReleaseKey("webapp", "v1"))


class SavedTests(SynchronousTestCase):
    def setUp(self) -> None:
        place = Path(self.mktemp())
        place.mkdir()
        self.path = place / "table.sqlite"
        self.saved = self.opened()

    def opened(self) -> Saved:
        saved = Saved(self.path)
        self.addCleanup(saved.close)
        return saved

    def read(self) -> Contents:
        """As another process would, after a kill."""
        return self.opened().read()

    def test_a_new_one_is_empty_and_private(self) -> None:
        self.assertEqual(self.read(), Contents(NEVER, (), NEVER, (), {}))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_a_whole_table_takes_the_place_of_another(self) -> None:
        self.saved.follow(at(1), 0, [route("a"), drone("o"), LEAVING, RETIRING])
        self.saved.follow(at(1, "f"), 0, [route("b")])
        contents = self.read()
        self.assertEqual((contents.table, contents.items), (at(1, "f"), (route("b"),)))

    def test_a_change_leaves_the_rest_alone(self) -> None:
        self.saved.follow(at(1), 0, [route("a"), route("b"), route("b", path="/x"), drone("o"), drone("p")])
        self.saved.follow(at(2), 1, [gone("b"), route("a", "v2"), TableItem(lost="o")])
        contents = self.read()
        self.assertEqual(contents.table, at(2))
        self.assertEqual(set(contents.items), {route("a", "v2"), route("b", path="/x"), drone("p")})

    def test_what_leaves_and_retires_is_whole_in_every_update(self) -> None:
        self.saved.follow(at(1), 0, [route("a"), drone("o"), LEAVING, RETIRING])
        self.saved.follow(at(2), 1, [TableItem(leaving="http-2")])
        self.assertEqual(set(self.read().items), {route("a"), drone("o"), TableItem(leaving="http-2")})

    def test_rows_are_put_changed_and_gone(self) -> None:
        self.saved.change_rows([row("1"), row("2"), row("3")], (), at(7))
        self.saved.change_rows([row("2", 20001)], ["3", "4"], at(8))
        contents = self.read()
        self.assertEqual((contents.registry, set(contents.rows)), (at(8), {row("1"), row("2", 20001)}))

    def test_facts_are_noted(self) -> None:
        self.saved.note(registry="127.0.0.1:6000", accepted="r1")
        self.saved.note(accepted="r2")
        self.assertEqual(self.read().facts, {"registry": "127.0.0.1:6000", "accepted": "r2"})

    def test_a_change_that_breaks_off_was_none(self) -> None:
        self.saved.follow(at(1), 0, [route("a")])

        def items():  # type: ignore[no-untyped-def]
            yield route("b")
            raise KeyError("break")

        with self.assertRaises(KeyError):
            self.saved.follow(at(2), 1, items())
        contents = self.read()
        self.assertEqual((contents.table, contents.items), (at(1), (route("a"),)))

    def test_a_full_disk_is_a_sentence_and_leaves_what_was_saved(self) -> None:
        self.saved.follow(at(1), 0, [route("a")])
        self.saved._database.connection.execute("pragma max_page_count = 10")
        with self.assertRaisesRegex(Refused, "cannot save the routes in .*full"):
            self.saved.follow(at(2), 1, [route(f"host{number}") for number in range(2000)])
        contents = self.read()
        self.assertEqual((contents.table, contents.items), (at(1), (route("a"),)))
        self.saved.follow(at(2), 1, [route("b")])
        self.assertEqual(self.read().table, at(2))

    def test_a_file_that_is_none_is_put_aside(self) -> None:
        self.saved.close()
        for garbage in (b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000):
            self.path.write_bytes(garbage)
            saved = self.opened()
            self.assertEqual(saved.read().table, NEVER)
            self.assertEqual(self.path.with_suffix(".broken").read_bytes()[:7], garbage[:7])
            saved.close()

    def test_contents_that_make_no_sense_are_put_aside(self) -> None:
        for statement in (
            "insert or replace into items values ('route a /', '3')",
            "insert or replace into items values ('route a /', 'x')",
            "insert into rows values ('1', '[1, 2]')",
            "insert or replace into facts values ('table''s revision', 'x y')",
        ):
            self.saved.follow(at(1), 0, [route("a")])
            with sqlite3.connect(self.path) as database:
                database.execute(statement)
            database.close()
            self.saved.close()
            self.saved = self.opened()
            self.assertEqual(self.saved.read(), Contents(NEVER, (), NEVER, (), {}))

    def test_a_torn_end_of_the_log_is_no_harm(self) -> None:
        """What a power cut may leave of what was not acknowledged."""
        self.saved.follow(at(1), 0, [route("a")])
        log = self.path.with_name("table.sqlite-wal")
        whole = log.read_bytes()
        self.saved.follow(at(2), 1, [route("b")])
        torn = log.read_bytes()[: len(whole) + 40]
        copy = self.path.with_name("copy.table.sqlite")
        copy.write_bytes(self.path.read_bytes())
        copy.with_name("copy.table.sqlite-wal").write_bytes(torn)
        saved = Saved(copy)
        self.addCleanup(saved.close)
        self.assertEqual(saved.read().table, at(1))

    def test_a_place_that_cannot_be_used_is_a_sentence(self) -> None:
        with self.assertRaisesRegex(Refused, "cannot open"):
            Saved(self.path.with_name("missing") / "table.sqlite")

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.tuples(
                st.booleans(),
                st.lists(
                    st.one_of(
                        st.builds(route, st.sampled_from("abc"), st.sampled_from(["v1", "v2"])),
                        st.builds(gone, st.sampled_from("abc")),
                        st.builds(drone, st.sampled_from("op"), st.sampled_from(["10.0.0.1", "10.0.0.2"])),
                        st.builds(lambda owner: TableItem(lost=owner), st.sampled_from("op")),
                        st.builds(lambda id: TableItem(leaving=id), st.sampled_from("xy")),
                    ),
                    max_size=6,
                ),
            ),
            max_size=6,
        )
    )
    def test_it_is_as_if_each_update_had_been_made_to_a_dict(self, updates: list[tuple[bool, list[TableItem]]]) -> None:
        model: dict[object, TableItem] = {}
        self.saved.follow(at(0), 0, [])
        for number, (whole, items) in enumerate(updates, 1):
            model = {} if whole else {key: item for key, item in model.items() if not item.leaving}
            for item in items:
                if item.gone or item.lost:
                    model.pop(item.gone or item.lost, None)
                else:
                    key = (
                        item.route.key if item.route else item.drone.owner if item.drone else ("leaving", item.leaving)
                    )
                    model[key] = item
            self.saved.follow(at(number), 0 if whole else number - 1, items)
        contents = self.read()
        self.assertEqual(set(contents.items), set(model.values()))
        self.assertEqual(contents.table, at(len(updates)) if updates else at(0))
