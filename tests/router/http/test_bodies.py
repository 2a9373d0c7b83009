"""Bodies end where they end, however they are cut into pieces."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.router.http.bodies import MAX_CHUNK_LINE, MAX_TRAILERS, BadBody, Body, Chunked, Length, chunk, last_chunk


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def read(body: Body, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What was in the body, and what follows it."""
    found = b""
    after = b""
    for piece in pieces:
        if body.done:
            after += piece
        else:
            found += body.feed(piece)
    return found, body.rest + after


class LengthTests(SynchronousTestCase):
    @given(st.binary(min_size=1, max_size=30), st.binary(max_size=10), st.lists(st.integers(0, 50)))
    def test_it_ends_after_its_length(self, data: bytes, after: bytes, places: list[int]) -> None:
        body = Length(len(data))
        self.assertEqual(read(body, cut(data + after, places)), (data, after))
        self.assertTrue(body.done)


class ChunkedTests(SynchronousTestCase):
    @given(
        st.lists(st.binary(min_size=1, max_size=30), max_size=5),
        st.sampled_from([b"", b";a", b' ; a="b\\""', b";a=b;c"]),
        st.lists(st.sampled_from([b"X: 1", b"Sum: abc"]), max_size=3),
        st.binary(max_size=10),
        st.lists(st.integers(0, 300)),
    )
    def test_it_is_read_in_any_pieces(
        self, chunks: list[bytes], extension: bytes, trailers: list[bytes], after: bytes, places: list[int]
    ) -> None:
        raw = b"".join(b"%X%b\r\n%b\r\n" % (len(data), extension, data) for data in chunks)
        raw += last_chunk(tuple(trailers))
        body = Chunked()
        self.assertEqual(read(body, cut(raw + after, places)), (b"".join(chunks), after))
        self.assertTrue(body.done)
        self.assertEqual(body.trailers, tuple(trailers))

    def test_what_is_no_chunk_is_refused(self) -> None:
        for data in (
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1_0\r\n",
            b"\r\n",
            b"1" * 16 + b"\r\n",
            b"1\n",
            b"1\rx",
            b"1;a\nb\r\n",
            b"1;a\x00\r\n",
            b"1\r\naXX",
            b"1\r\na\n",
            b"1\r\nab",
            b"1;" + b"a" * MAX_CHUNK_LINE,
            b"1;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
            b"0\r\nno trailer\r\n",
            b"0\r\n folded: x\r\n",
            b"0\r\nX: " + b"a" * MAX_TRAILERS,
            b"0\r\n" + b"X: a\r\n" * 65,
            b"0\r\n" + (b"X: " + b"a" * 1000 + b"\r\n") * 20,
        ):
            with self.assertRaises(BadBody, msg=data[:40]):
                Chunked().feed(data)
            body = Chunked()
            with self.assertRaises(BadBody, msg=data[:40]):
                for byte in data:
                    body.feed(bytes([byte]))

    def test_trailers_that_come_too_late_are_left_out(self) -> None:
        body = Chunked()
        body.feed(b"0\r\nX: 1\r\nContent-Length: 5\r\ntransfer_encoding: x\r\nHost: b\r\nAuthorization: c\r\n\r\n")
        self.assertEqual(body.trailers, (b"X: 1",))

    @given(st.binary(max_size=100))
    def test_anything_is_read_or_refused(self, data: bytes) -> None:
        try:
            Chunked().feed(data)
        except BadBody:
            return

    @given(st.binary(min_size=1, max_size=100))
    def test_a_chunk_is_read_back(self, data: bytes) -> None:
        self.assertEqual(Chunked().feed(chunk(data) + last_chunk(())), data)
