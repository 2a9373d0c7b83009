"""Reading what many instances have printed."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.log_reading import PAGE_BYTES, PAGE_SOURCES, Page, Reading, Wanted
from deployd.drone.logs import LogFiles
from deployd.processes.log_page import unpack_from
from deployd.processes.records import MAX_DATA, WORDS, Record, pack, segment_name
from tests.drone.log_files import LogWriter, told

ANY = Wanted("webapp")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp())
        self.top.mkdir()
        self.writer = LogWriter(self.top)
        self.files = LogFiles(self.top)

    def read(self, after: int = 0, newest: int = 0, wanted: Wanted = ANY) -> list[tuple[str, str]]:
        return told(self.page(after, newest, wanted))

    def page(self, after: int = 0, newest: int = 0, wanted: Wanted = ANY) -> Page:
        reading = self.files.reading(wanted, after, newest)
        page = reading.page()
        self.files.put_back(reading)
        return page


class ReadingTests(Case):
    def test_tells_of_all_instances_in_the_order_of_time(self) -> None:
        for number in range(10):
            self.writer.say(f"http-{number % 3}", str(number))
        self.assertEqual([text for _, text in self.read()], [str(number) for number in range(10)])
        self.assertEqual(self.read()[4], ("http-1", "4"))

    def test_goes_on_where_it_ended_whoever_asks(self) -> None:
        for number in range(10):
            self.writer.say(f"http-{number % 3}", str(number))
        for after in range(1000, 1011):
            self.assertEqual(
                [text for _, text in self.read(after)], [str(number) for number in range(after - 1000, 10)]
            )

    def test_what_is_printed_meanwhile_comes_next(self) -> None:
        reading = Reading(self.top, ANY, 0)
        self.assertEqual(reading.page(), Page(b"", (), 0, False))
        self.writer.say("http-a", "one")
        self.assertEqual(told(reading.page()), [("http-a", "one")])
        self.writer.say("http-b", "two")
        self.writer.say("http-a", "three")
        page = reading.page()
        self.assertEqual(told(page), [("http-b", "two"), ("http-a", "three")])
        self.assertEqual(page.next, self.writer.stamp)
        self.assertEqual(told(reading.page()), [])

    def test_only_what_matches_is_told(self) -> None:
        self.writer.say("http-a", "one")
        self.writer.say("my-worker-a", "two", release="v2")
        self.writer.say("http-a", "three", app="team/webapp")
        self.assertEqual(self.read(wanted=Wanted("webapp", role="my-worker")), [("my-worker-a", "two")])
        self.assertEqual(self.read(wanted=Wanted("webapp", frozenset({"v1"}))), [("http-a", "one")])
        self.assertEqual(self.read(wanted=Wanted("team/webapp")), [("http-a", "three")])
        self.assertEqual(self.read(wanted=Wanted("nobody")), [])

    def test_a_source_says_what_it_is_of(self) -> None:
        self.writer.say("http-a", "one", release="v7")
        (source,) = self.page().answer()["sources"]
        commit = "c0ffee" * 6 + "abcd"
        self.assertEqual(source, {"id": "http-a", "app": "webapp", "release": "v7", "commit": commit, "role": "http"})

    def test_a_page_is_bounded_and_says_that_there_is_more(self) -> None:
        for _ in range(5):
            self.writer.say("http-a", "x" * MAX_DATA)
        page = self.page()
        self.assertLess(len(page.data), 65536)
        self.assertGreater(len(page.data), PAGE_BYTES)
        self.assertTrue(page.more)
        rest = self.page(page.next)
        self.assertEqual(len(told(page)) + len(told(rest)), 5)
        self.assertFalse(rest.more)

    def test_a_page_names_few_enough_instances_for_a_message(self) -> None:
        for number in range(PAGE_SOURCES + 1):
            self.writer.say(f"http-{number}", "x")
        page = self.page()
        self.assertEqual((len(page.sources), page.more), (PAGE_SOURCES, True))
        self.assertEqual(len(self.read(page.next)), 1)

    def test_segments_that_are_deleted_meanwhile_are_passed_over(self) -> None:
        for number in range(9):
            self.writer.say("http-a", str(number) * 6000)
        reading = Reading(self.top, ANY, 0)
        first = told(reading.page())
        self.assertEqual(len(first), 8)
        for number in range(9, 15):
            self.writer.say("http-a", str(number))
        for name in sorted(path.name for path in self.writer.directory("http-a").iterdir())[:4]:
            (self.writer.directory("http-a") / name).unlink()
        self.assertEqual([text for _, text in told(reading.page())], ["12", "13", "14"])

    def test_an_instance_whose_log_is_gone_is_forgotten(self) -> None:
        self.writer.say("http-a", "one")
        reading = Reading(self.top, ANY, 0)
        reading.page()
        directory = self.writer.directory("http-a")
        for path in [*directory.iterdir()]:
            path.unlink()
        directory.rmdir()
        self.writer.say("http-b", "two")
        self.assertEqual(told(reading.page()), [("http-b", "two")])

    def test_a_torn_end_is_passed_over_once_something_follows(self) -> None:
        directory = self.writer.directory("http-a")
        self.writer.say("http-a", "one")
        (path,) = directory.iterdir()
        with path.open("ab") as file:
            file.write(pack(Record(1500, 1, b"never whole"))[:-3])
        reading = Reading(self.top, ANY, 0)
        self.assertEqual(told(reading.page()), [("http-a", "one")])
        (directory / segment_name(2000)).write_bytes(pack(Record(2000, 1, b"two")))
        self.assertEqual(told(reading.page()), [("http-a", "two")])

    def test_other_files_are_let_be(self) -> None:
        self.writer.say("http-a", "one")
        (self.writer.directory("http-a") / "notes.txt").write_text("x")
        (self.top / "webapp" / "stray").write_text("x")
        self.assertEqual(self.read(), [("http-a", "one")])

    def test_a_record_that_comes_while_files_are_looked_at_is_not_passed_over(self) -> None:
        self.writer.say("http-a", "one")
        self.writer.say("http-b", "two")
        reading = Reading(self.top, ANY, 0)
        reading.page()
        cursors = [cursor for cursor, source in reading._cursors.values() if source.id == "http-b"]
        look = cursors[0].look

        def printed_meanwhile() -> int | None:
            cursors[0].look = look  # type: ignore[method-assign]
            self.writer.say("http-a", "three")
            self.writer.say("http-b", "four")
            return look()

        cursors[0].look = printed_meanwhile  # type: ignore[method-assign]
        # In whichever order the two are looked at.
        reading._cursors = dict(sorted(reading._cursors.items()))
        self.assertEqual(told(reading.page()), [("http-a", "three"), ("http-b", "four")])

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9000)), max_size=40), st.integers(1, 5))
    @settings(max_examples=30, deadline=None)
    def test_pages_tell_everything_once_and_in_order(self, said: list[tuple[str, int]], records: int) -> None:
        top = Path(self.mktemp())
        writer = LogWriter(top, records)
        stamps = [writer.say(f"http-{who}", "x" * length) for who, length in said]
        read: list[int] = []
        after = 0
        # A new reader every time: nothing hangs on what one remembers.
        while (page := Reading(top, ANY, after).page()).data:
            read += [record.stamp for _, record in unpack_from(page.data)]
            self.assertEqual(page.next, read[-1])
            self.assertEqual(page.more, page.next != stamps[-1])
            after = page.next
        self.assertEqual(read, stamps)


class StartTests(Case):
    def test_begins_at_least_so_many_lines_before_the_end(self) -> None:
        for number in range(20):
            self.writer.say(f"http-{number % 4}", f"{number}\n")
        self.assertEqual([text for _, text in self.read(-1, 5)], [f"{number}\n" for number in range(15, 20)])

    def test_a_record_of_many_lines_is_told_whole(self) -> None:
        self.writer.say("http-a", "old\n")
        self.writer.say("http-a", "line\n" * 100)
        self.assertEqual(len(self.read(-1, 10)), 1)

    def test_all_is_told_where_there_is_less(self) -> None:
        self.writer.say("http-a", "one\n")
        self.assertEqual(len(self.read(-1, 10)), 1)

    def test_none_begins_at_the_end(self) -> None:
        self.writer.say("http-a", "one\n")
        page = self.page(-1, 0)
        self.assertEqual((page.data, page.next), (b"", self.writer.stamp))
        self.writer.say("http-a", "two\n")
        self.assertEqual(self.read(page.next), [("http-a", "two\n")])

    def test_old_instances_are_not_read(self) -> None:
        stamp = 2_000_000_000_000_000
        self.writer.stamp = stamp
        self.writer.say("http-old", "old\n")
        (old,) = self.writer.directory("http-old").iterdir()
        old.unlink()
        # Opening it would fail.
        old.mkdir()
        os.utime(old, (1, 1))
        for number in range(3):
            self.writer.say("http-new", f"{number}\n")
        self.assertEqual(self.files.reading(ANY, -1, 2).after, stamp + 2)


class TailTests(Case):
    def tail(self, **bounds: float) -> str:
        name = self.writer.directory("http-a").relative_to(self.top)
        return self.files.tail(str(name), **bounds)  # type: ignore[arg-type]

    def test_is_what_was_printed_since_the_last_start(self) -> None:
        self.writer.say("http-a", "before\n")
        self.writer.say("http-a", "started, pid 7", WORDS)
        for number in range(5):
            self.writer.say("http-a", f"{number}\n", 1 + number % 2)
        self.assertEqual(self.tail(), "0\n1\n2\n3\n4")

    def test_or_since_a_time(self) -> None:
        self.writer.stamp = 5_000_000
        self.writer.say("http-a", "before\n")
        self.writer.stamp = 6_000_000
        self.writer.say("http-a", "after\n")
        self.writer.say("http-a", "started, pid 8", WORDS)
        self.writer.say("http-a", "and on\n")
        self.assertEqual(self.tail(since=5.5), "after\nand on")

    def test_is_bounded_and_safe_to_show(self) -> None:
        for number in range(100):
            self.writer.say("http-a", f"\x1b[31m{number}\x07\n")
        shown = self.tail(lines=3)
        self.assertEqual(shown, "97\\x07\n98\\x07\n99\\x07")
        self.assertLessEqual(len(self.tail(size=50)), 50)

    def test_of_what_has_said_nothing_is_empty(self) -> None:
        self.assertEqual(self.tail(), "")
