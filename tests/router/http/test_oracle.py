"""Whatever this parser takes, h11 reads in the same way; what h11 refuses is refused here too."""

from __future__ import annotations

from typing import Any

import h11
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.router.http import answers, heads
from deployd.router.http.answers import CHUNKED, UNTIL_CLOSE, BadAnswer
from deployd.router.http.bodies import BadBody, Body, Chunked, Length, UntilClose
from deployd.router.http.heads import Bad
from tests.router.http.test_bodies import cut, read

# What one reader could understand otherwise than another; None: neither accepts it.
Reading = tuple[Any, ...] | None

FIELDS = st.lists(
    st.sampled_from(
        [
            b"Host: a",
            b"Host: b",
            b"host:a",
            b"Host : a",
            b"Content-Length: 3",
            b"Content-Length: 4",
            b"Content-Length: 3, 3",
            b"content-length:3 ",
            b"Content-Length: 0",
            b"Content-Length: +3",
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding: CHUNKED",
            b"Transfer-Encoding: gzip, chunked",
            b"Transfer-Encoding:\tchunked",
            b"Transfer-Encoding : chunked",
            b"Connection: close",
            b"Connection: keep-alive, x",
            b"Expect: 100-continue",
            b"X: y",
            b"X:",
            b"X: \x80\xff",
            b"X: a\x00b",
            b"X: a\rb",
            b"X: a\nb",
            b" folded",
            b"\tfolded: x",
            b"nocolon",
            b"a b: c",
            b"",
        ]
    ),
    max_size=5,
)
STARTS = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"GET /a?b=c HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/2.0",
        b"get / HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET / HTTP/1.x",
    ]
)
STATUSES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 204 No",
        b"HTTP/1.1 304 No",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 a\x00",
        b"HTTP/1.1  200 OK",
        b"HTTP/2.0 200 OK",
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"abcd",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"003;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
        b"3\r\nabcX",
        b"3\nabc\n0\n\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
    ]
)
PLACES = st.lists(st.integers(0, 400), max_size=8)


def ours(data: bytes, places: list[int], method: bytes = b"") -> Reading:
    """What the message is taken for: a request, or the answer to a ``method`` request."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    try:
        found: Any = answers.answer(head, method) if method else heads.request(head)
        length = found.length
        body: Body = Chunked() if length == CHUNKED else UntilClose() if length == UNTIL_CLOSE else Length(length)
        payload, after = (b"", rest) if body.done else read(body, cut(rest, places))
    except (Bad, BadAnswer, BadBody):
        return None
    start = (found.status,) if method else (found.method, found.target, found.is_1_1)
    return (*start, payload, after if body.done else b"", body.done or length == UNTIL_CLOSE)


def theirs(data: bytes, places: list[int], method: bytes = b"") -> Reading:
    """The same, as h11 sees it."""
    connection = h11.Connection(h11.CLIENT if method else h11.SERVER)
    if method:
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
    found: Any = None
    payload, after, done = b"", b"", False
    try:
        for piece in [*cut(data, places), *([b""] if method else [])]:
            if done:
                after += piece
                continue
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                    break
                if isinstance(event, h11.Request | h11.Response):
                    found = event
                elif isinstance(event, h11.Data):
                    payload += event.data
                elif isinstance(event, h11.EndOfMessage):
                    done = True
                    break
    except h11.RemoteProtocolError as error:
        # An answer that breaks off is for its reader to notice; here its first part counts.
        if found is None or not method or "peer unexpectedly closed" not in str(error).lower() + _cause(error):
            return None
    if found is None:
        return None
    start = (found.status_code,) if method else (found.method, found.target, found.http_version == b"1.1")
    return (*start, payload, connection.trailing_data[0] + after if done else b"", done)


def _cause(error: Exception) -> str:
    return "peer unexpectedly closed" if "closed connection" in str(error) else ""


class OracleTests(SynchronousTestCase):
    @given(STARTS, FIELDS, BODIES, PLACES)
    @example(b"POST / HTTP/1.1", [b"Host: a", b"Content-Length: 3"], b"abc", [])
    @example(b"POST / HTTP/1.1", [b"Host: a", b"Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n", [60, 61, 62])
    def test_requests_are_read_as_h11_reads_them(
        self, start: bytes, lines: list[bytes], rest: bytes, places: list[int]
    ) -> None:
        data = b"\r\n".join([start, *lines]) + b"\r\n\r\n" + rest
        mine = ours(data, places)
        if mine is not None:
            self.assertEqual(mine, theirs(data, places))

    @given(STATUSES, FIELDS, BODIES, PLACES, st.sampled_from([b"GET", b"HEAD"]))
    @example(b"HTTP/1.1 200 OK", [b"Content-Length: 3"], b"abc", [], b"GET")
    def test_answers_are_read_as_h11_reads_them(
        self, start: bytes, lines: list[bytes], rest: bytes, places: list[int], method: bytes
    ) -> None:
        data = b"\r\n".join([start, *lines]) + b"\r\n\r\n" + rest
        mine = ours(data, places, method)
        if mine is not None:
            self.assertEqual(mine, theirs(data, places, method))

    def test_both_take_what_is_right(self) -> None:
        for data in (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            self.assertIsNotNone(ours(data, []))
            self.assertEqual(ours(data, []), theirs(data, []))
