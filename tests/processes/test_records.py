"""What lies on disk of what apps print."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.records import MAX_DATA, Record, first_stamp, pack, parts, segment_name, unpack, unpack_backwards

records = st.lists(
    st.builds(Record, st.integers(1, 2**63), st.integers(0, 255), st.binary(max_size=100) | st.just(b"x" * MAX_DATA)),
    max_size=6,
)


class RecordTests(SynchronousTestCase):
    @given(records)
    def test_records_come_back_as_they_were_packed(self, given: list[Record]) -> None:
        data = b"".join(map(pack, given))
        self.assertEqual(unpack(data), (given, len(data)))

    @given(records, st.data())
    def test_reading_stops_before_a_torn_end(self, given: list[Record], data: st.DataObject) -> None:
        whole = b"".join(map(pack, given))
        last = pack(Record(5, 1, b"torn"))
        torn = whole + last[: data.draw(st.integers(0, len(last) - 1))]
        self.assertEqual(unpack(torn), (given, len(whole)))

    @given(records)
    def test_they_are_read_from_the_end_too(self, given: list[Record]) -> None:
        data = b"".join(map(pack, given))
        self.assertEqual(list(unpack_backwards(data)), given[::-1])

    @given(st.binary(max_size=200))
    def test_from_the_end_too_whatever_lies_there_is_no_error(self, data: bytes) -> None:
        list(unpack_backwards(data))

    @given(records)
    def test_what_is_no_record_is_not_read(self, given: list[Record]) -> None:
        whole = b"".join(map(pack, given))
        self.assertEqual(unpack(whole + bytes(100)), (given, len(whole)))

    @given(st.binary(max_size=200))
    def test_whatever_lies_there_is_no_error(self, data: bytes) -> None:
        _, taken = unpack(data)
        self.assertLessEqual(taken, len(data))


class PartTests(SynchronousTestCase):
    @given(st.lists(st.integers(0, 3 * MAX_DATA), max_size=4).map(lambda sizes: b"\n".join(b"x" * n for n in sizes)))
    def test_parts_are_all_of_it_and_small_enough(self, data: bytes) -> None:
        found = list(parts(data))
        self.assertEqual(b"".join(found), data)
        self.assertLessEqual(max(map(len, found)), MAX_DATA)

    def test_a_part_ends_with_a_line_where_there_is_one(self) -> None:
        line = b"x" * 999 + b"\n"
        found = list(parts(line * 40))
        self.assertTrue(all(part.endswith(b"\n") for part in found))
        self.assertGreater(len(found), 1)


class NameTests(SynchronousTestCase):
    @given(st.integers(0, 2**63), st.integers(0, 2**63))
    def test_names_sort_as_stamps_do(self, one: int, other: int) -> None:
        self.assertEqual(segment_name(one) < segment_name(other), one < other)
        self.assertEqual(first_stamp(segment_name(one)), one)

    def test_other_files_have_no_stamp(self) -> None:
        for name in (
            "1.log",
            "0" * 20,
            "0" * 20 + ".txt",
            "\u0660" * 20 + ".log",
            "a" * 20 + ".log",
            "0" * 21 + ".log",
        ):
            self.assertIsNone(first_stamp(name), name)
