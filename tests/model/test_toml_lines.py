"""In which line of a TOML text each key is."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.toml_lines import Excessive, Path, locate

TEXT = '''# [roles.fake]
a.b = 1
"q.\\u0041" = """
[roles.fake]
x = 1  \\"""
"""
[roles.http]   # [no]
check = { path = "/", "interval" = 3 }
 [ roles . "w x" . env ]
A = \'\'\'
[[build]]\'\'\'
[[build]]
command = 'x = [1'
cache = [
  "a", # ]
  "b]",
]
[build.x]
k = 1979-05-27 07:32:00
[[build]]
makes = ["q"]
'''
SCALARS = [
    "1",
    "-1.5e3",
    "true",
    "1979-05-27 07:32:00Z",
    '"x # ] \\" y"',
    "'[z] = 1'",
    '"""\n[z]\nz = 1\n""""',
    "'''\n# '''",
    '""',
    "''",
]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[ # ]\n" + " ,\n".join(values) + "]")
        | st.lists(inner, max_size=3).map(
            lambda values: "{" + ", ".join(f"k{n} = {value}" for n, value in enumerate(values)) + " }"
        )
    ),
    max_leaves=6,
)
KEYS = st.lists(st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"\\u0041]"']), min_size=1, max_size=3).map(" . ".join)
STATEMENTS = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]}.x% = {pair[1]}"),
    KEYS.map(lambda key: f"[{key}.y%] # ["),
    KEYS.map(lambda key: f" [[ {key} . z ]]"),
    st.sampled_from(["", "# [x]", "\t"]),
)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every key and array element of what tomllib has read."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    for key, inner in pairs:
        yield (*path, key)
        yield from paths(inner, (*path, key))


class LocateTests(SynchronousTestCase):
    def test_finds_each_key_where_it_is_named_first(self) -> None:
        lines = locate(TEXT)
        tomllib.loads(TEXT)
        expected: dict[Path, int] = {
            ("a",): 2,
            ("a", "b"): 2,
            ("q.A",): 3,
            ("roles", "http"): 7,
            ("roles", "http", "check", "interval"): 8,
            ("roles", "w x", "env"): 9,
            ("roles", "w x", "env", "A"): 10,
            ("build", 0): 12,
            ("build", 0, "command"): 13,
            ("build", 0, "cache", 1): 16,
            ("build", 0, "x", "k"): 19,
            ("build", 1): 20,
            ("build", 1, "makes"): 21,
        }
        self.assertEqual({path: lines.of(path) for path in expected}, expected)
        self.assertNotIn(("roles", "fake"), lines.known)

    def test_what_the_text_does_not_name_is_where_the_things_around_it_are(self) -> None:
        lines = locate(TEXT)
        self.assertEqual(lines.of(("build", 1, "timeout")), 20)
        self.assertEqual(lines.of(("nosuch",)), 1)

    def test_line_ends_of_windows_count_once(self) -> None:
        self.assertEqual(locate(TEXT.replace("\n", "\r\n")), locate(TEXT))

    @given(st.lists(STATEMENTS, max_size=8))
    def test_finds_every_key_of_whatever_tomllib_reads(self, statements: list[str]) -> None:
        text = "\n".join(statement.replace("%", str(number)) for number, statement in enumerate(statements))
        self.assertEqual(set(paths(tomllib.loads(text))) - set(locate(text).known), set())

    @given(st.text())
    def test_no_text_is_too_strange(self, text: str) -> None:
        locate(text)

    def test_what_would_cost_much_is_refused_with_its_line(self) -> None:
        for text in (
            "x = 1\n" + ".".join(["a"] * 30_000) + " = 1",
            "x = 1\n[" + ".".join(["a"] * 30_000) + "]",
            "x = 1\ny = " + "[" * 30_000,
            "x = 1\ny = " + "{ a = " * 10_000,
            "x = 1\ny = " + "9" * 5_000,
        ):
            self.assertEqual(self.assertRaises(Excessive, locate, text).line, 2)

    def test_takes_time_as_the_text_is_long(self) -> None:
        """No text of the size that is read makes a pushing team wait."""
        began = time.process_time()
        for piece in (
            'a = """',
            "[[b]]\n",
            "[b.c]\n[[b]]\n",
            '"a"."b".c = [[], {x=1}]\n',
            "'",
            '"\\"',
            "a=['",
            "#",
            "\n",
        ):
            try:
                locate(piece * (64 * 1024 // len(piece)))
            except Excessive:
                continue
        self.assertLess(time.process_time() - began, 5)
