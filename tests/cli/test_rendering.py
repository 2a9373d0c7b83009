"""Rows as text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.rendering import (
    COMMIT,
    cell,
    counted,
    drone_line,
    indented,
    json_text,
    nonzero,
    outline,
    plain,
    printable,
    table,
)

ESCAPES = "\x1b[31mred\x1b[0m\x07\r\x9b2J"


class TableTests(SynchronousTestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self) -> None:
        rows = [{"name": "d1", "state": "connected"}, {"name": "longer", "state": "away"}]
        self.assertEqual(
            plain(table(rows, "name", "state")).splitlines(),
            ["NAME    STATE", "d1      connected", "longer  away"],
        )

    def test_without_rows_the_header_stays(self) -> None:
        self.assertEqual(plain(table([], "name", "state")), "NAME  STATE")

    def test_a_commit_is_short_and_no_port_is_blank(self) -> None:
        shown = table([{"commit": "74336bc1db98478e", "port": 0}], COMMIT, nonzero("port"))
        self.assertEqual(shown.rows, (("74336bc", ""),))

    def test_a_key_that_an_older_hub_does_not_send_is_blank(self) -> None:
        self.assertEqual(table([{}], "name", COMMIT).rows, (("", ""),))

    @given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.text() | st.integers() | st.none())))
    def test_every_row_is_one_line(self, rows: list[dict[str, object]]) -> None:
        self.assertEqual(len(plain(table(rows, "a", "b")).split("\n")), len(rows) + 1)


class CellTests(SynchronousTestCase):
    def test_maps_and_lists_are_joined(self) -> None:
        self.assertEqual(cell({"zone": "b", "region": "eu"}), "region=eu,zone=b")
        self.assertEqual(cell(["a", 1]), "a,1")
        self.assertEqual((cell({}), cell(None), cell([]), cell(0), cell(False)), ("", "", "", "0", "False"))

    @given(st.text())
    def test_nothing_that_an_app_wrote_moves_the_terminal(self, text: str) -> None:
        self.assertTrue(all(char.isprintable() or char in "\n\t" for char in printable(text)))
        self.assertNotIn("\n", cell(text))

    def test_escape_sequences_lose_their_escape(self) -> None:
        self.assertEqual(printable(ESCAPES).replace("\N{REPLACEMENT CHARACTER}", ""), "[31mred[0m2J")


class SentenceTests(SynchronousTestCase):
    def test_a_drone_says_its_reason(self) -> None:
        self.assertEqual(
            drone_line({"drone": "d1", "state": "failed", "reason": "boom\nbang"}), "d1: failed: boom bang"
        )
        self.assertEqual(drone_line({"drone": "d1", "state": "ready"}), "d1: ready")

    def test_output_of_an_app_is_set_apart(self) -> None:
        self.assertEqual(indented("one\ntwo\n"), "  | one\n  | two")
        self.assertEqual(indented(" \n"), "")

    def test_counts_agree_with_their_noun(self) -> None:
        self.assertEqual((counted(1, "drone"), counted(0, "drone")), ("1 drone", "0 drones"))

    def test_json_is_one_document_of_ascii(self) -> None:
        text = json_text({"a": "ключ\ud800"})
        self.assertTrue(text.isascii())
        self.assertEqual(json.loads(text), {"a": "ключ\ud800"})

    def test_a_document_is_lines_with_maps_indented(self) -> None:
        self.assertEqual(
            outline({"hub": {"epoch": "e", "apps": 2}, "drones": 0, "note": ""}).splitlines(),
            ["hub:", "  epoch: e", "  apps: 2", "drones: 0", "note:"],
        )
