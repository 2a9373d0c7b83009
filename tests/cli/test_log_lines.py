"""Lines of logs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.log_lines import MAX_LINE, PATIENCE, Assembly, Line, Source
from deployd.processes.records import STDERR, STDOUT, WORDS, Record

SOURCE = Source("d1", "http-ab12cd34ef", "http", "v1")
OTHER = Source("d1", "say-ab12cd34ef", "say", "v1")
STAMP = 1_795_687_200_123_456


def texts(lines: list[Line]) -> list[tuple[int, bytes]]:
    return [(line.stamp, line.text) for line in lines]


class AssemblyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.assembly = Assembly()

    def add(self, stamp: int, data: bytes, stream: int = STDOUT, source: Source = SOURCE) -> list[tuple[int, bytes]]:
        return texts(self.assembly.add(source, Record(stamp, stream, data), now=stamp))

    def test_a_line_is_as_old_as_its_first_byte(self) -> None:
        self.assertEqual(self.add(1, b"one\ntw"), [(1, b"one")])
        self.assertEqual(self.add(2, b"o\nthree\n"), [(1, b"two"), (2, b"three")])
        self.assertEqual(self.assembly.oldest, None)

    def test_streams_and_instances_are_apart(self) -> None:
        self.add(1, b"o")
        self.add(2, b"e", STDERR)
        self.add(3, b"x", source=OTHER)
        self.assertEqual(self.assembly.oldest, 1)
        self.assertEqual(self.add(4, b"ne\n"), [(1, b"one")])
        self.assertEqual(self.assembly.oldest, 2)

    def test_words_of_deployd_end_what_the_process_has_begun(self) -> None:
        self.add(1, b"no en")
        self.add(2, b"neither", STDERR)
        self.add(3, b"another's", source=OTHER)
        ended = self.add(4, b"exited with code 1", WORDS)
        self.assertEqual(ended, [(1, b"no en"), (2, b"neither"), (4, b"exited with code 1")])
        self.assertEqual(self.assembly.oldest, 3)

    def test_a_line_without_end_is_shown_after_a_while(self) -> None:
        self.add(1, b"? ")
        self.assertEqual(self.assembly.due, 1 + PATIENCE)
        self.assertEqual(self.assembly.take_old(1.5), [])
        self.assertEqual(texts(self.assembly.take_old(1 + PATIENCE)), [(1, b"? ")])
        self.assertEqual(self.add(3, b"yes\n"), [(3, b"yes")])

    def test_a_line_is_not_kept_for_ever_as_it_grows(self) -> None:
        self.add(1, b"x" * MAX_LINE)
        self.assertEqual(len(self.add(2, b"x")[0][1]), MAX_LINE + 1)
        self.assertEqual(self.assembly.oldest, None)

    @given(st.lists(st.tuples(st.sampled_from((STDOUT, STDERR)), st.text("ab\n", max_size=6)), max_size=20))
    def test_nothing_is_lost_or_added(self, said: list[tuple[int, str]]) -> None:
        assembly = Assembly()
        lines = []
        for stamp, (stream, text) in enumerate(said):
            lines += assembly.add(SOURCE, Record(stamp, stream, text.encode()), 0.0)
        lines += assembly.take_all()
        for wanted in (STDOUT, STDERR):
            whole = "".join(text for stream, text in said if stream == wanted)
            shown = [line.text.decode() for line in lines if line.stream == wanted]
            self.assertEqual(shown, whole.removesuffix("\n").split("\n") if whole else [])


class LineTests(SynchronousTestCase):
    def test_says_when_where_and_what(self) -> None:
        line = Line(STAMP, SOURCE, STDOUT, b"beep \x1b[31mboop\x07")
        self.assertEqual(line.prefix, "2026-11-26T10:00:00.123Z d1 http-ab12cd34ef | ")
        self.assertEqual(line.safe, "beep boop\\x07")
        self.assertEqual(
            line.document(),
            {
                "time": "2026-11-26T10:00:00.123Z",
                "stamp": STAMP,
                "drone": "d1",
                "id": "http-ab12cd34ef",
                "role": "http",
                "release": "v1",
                "stream": "stdout",
                "text": "beep \x1b[31mboop\x07",
            },
        )

    def test_words_of_deployd_are_told_from_an_apps(self) -> None:
        line = Line(STAMP, SOURCE, WORDS, b"started, pid 7")
        self.assertEqual(line.prefix + line.safe, "2026-11-26T10:00:00.123Z d1 http-ab12cd34ef * started, pid 7")
        self.assertEqual(line.document()["stream"], "deployd")

    def test_any_bytes_and_any_stamp_can_be_shown(self) -> None:
        line = Line(2**63, SOURCE, STDERR, b"\xff\n")
        self.assertEqual((line.time, line.document()["text"]), (str(2**63), "\N{REPLACEMENT CHARACTER}\n"))
