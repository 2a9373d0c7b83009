"""Heads are read strictly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.router.http import answers, heads
from deployd.router.http.answers import CHUNKED, UNTIL_CLOSE, BadAnswer
from deployd.router.http.heads import Bad
from deployd.router.http.lines import MAX_KNOWN

H = b"\r\nHost: a"


def refused(head: bytes) -> int:
    """The status that ``head`` is refused with; 0 if it is not."""
    try:
        heads.request(head)
    except Bad as bad:
        return bad.status
    return 0


class RequestTests(SynchronousTestCase):
    def test_a_head_is_read(self) -> None:
        found = heads.request(
            b"POST /a?b HTTP/1.1\r\nHost: Shop.Example:8080\r\nCookie: a=1\r\nContent-Length: 12\r\nX-A:  b \r\n"
            b"cookie: b=2\r\nX-Deployd-Commit: 74336bc"
        )
        self.assertEqual((found.method, found.target, found.is_1_1), (b"POST", b"/a?b", True))
        self.assertEqual((found.field, found.host), (b"Shop.Example:8080", b"shop.example"))
        self.assertEqual((found.length, found.keep, found.expects), (12, True, False))
        self.assertEqual((found.cookies, found.commit), (b"a=1; b=2", b"74336bc"))
        self.assertEqual(found.lines, [b"Cookie: a=1", b"X-A:  b ", b"cookie: b=2", b"X-Deployd-Commit: 74336bc"])

    def test_lengths_that_could_be_read_in_two_ways_are_refused(self) -> None:
        post = b"POST / HTTP/1.1" + H
        for fields, expected in (
            (b"Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 1", 400),
            (b"Content-Length: 1\r\nContent-Length: 2", 400),
            (b"Content-Length: 1, 1", 400),
            (b"Content-Length: +1", 400),
            (b"Content-Length: -1", 400),
            (b"Content-Length: 0x1", 400),
            (b"Content-Length: 1_0", 400),
            (b"Content-Length:", 400),
            (b"Content-Length: 1 2", 400),
            (b"Content-Length: " + b"9" * 19, 400),
            (b"Content-Length : 1", 400),
            (b"Content-Length\t: 1", 400),
            (b"Transfer-Encoding: gzip, chunked", 501),
            (b"Transfer-Encoding: chunked, identity", 501),
            (b"Transfer-Encoding: identity", 501),
            (b"Transfer-Encoding: xchunked", 501),
            (b"Transfer-Encoding: \x0bchunked", 400),
            (b"Transfer-Encoding:", 501),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            (b"Transfer-Encoding\r\n : chunked", 400),
        ):
            self.assertEqual(refused(post + b"\r\n" + fields), expected, fields)
        self.assertEqual(refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked"), 400)
        self.assertEqual(heads.request(post + b"\r\nContent-Length: 7\r\nContent-Length: 7").length, 7)
        self.assertEqual(heads.request(post + b"\r\nTransfer-Encoding: Chunked").length, CHUNKED)

    def test_lines_that_are_no_fields_are_refused(self) -> None:
        for line in (
            b" folded",
            b"\tfolded",
            b"X: a\r\n folded",
            b"no colon",
            b": no name",
            b"a b: c",
            b"X: a\nY: b",
            b"X: a\rY: b",
            b"X: a\x00",
            b"X: \x07",
            b"X: \x7f",
            b"X\x80: a",
            b"",
        ):
            self.assertEqual(refused(b"GET / HTTP/1.1" + H + b"\r\n" + line), 400, line)

    def test_the_first_line_is_exact(self) -> None:
        for line, expected in (
            (b"GET  / HTTP/1.1", 400),
            (b"GET / HTTP/1.1 ", 400),
            (b" GET / HTTP/1.1", 400),
            (b"GET\t/ HTTP/1.1", 400),
            (b"GET / http/1.1", 400),
            (b"GET / HTTP/1.10", 400),
            (b"GET / HTTP/2.0", 505),
            (b"GET / HTTP/0.9", 505),
            (b"GET /a b HTTP/1.1", 400),
            (b"GET /\x80 HTTP/1.1", 400),
            (b"GET /a#b HTTP/1.1", 400),
            (b"GET /\x00 HTTP/1.1", 400),
            (b"G(T / HTTP/1.1", 400),
            (b"GET /", 400),
            (b"", 400),
            (b"GET x HTTP/1.1", 400),
            (b"GET * HTTP/1.1", 400),
            (b"CONNECT a:1 HTTP/1.1", 501),
            (b"G" * 65 + b" / HTTP/1.1", 501),
        ):
            self.assertEqual(refused(line + H), expected, line)
        self.assertEqual(refused(b"GET /" + b"a" * 16384 + b" HTTP/1.1" + H), 414)

    def test_there_is_one_host(self) -> None:
        for fields in (b"", H + H, H + b"\r\nHost: b", b"\r\nHost:", b"\r\nHost: a b", b"\r\nHost: a/b",
                       b"\r\nHost: u@a", b"\r\nHost: a:b", b"\r\nHost: a:1:2", b"\r\nHost: a, b",
                       b"\r\nHost: [::1", b'\r\nHost: "a"'):  # fmt: skip
            self.assertEqual(refused(b"GET / HTTP/1.1" + fields), 400, fields)
        self.assertEqual(refused(b"GET / HTTP/1.0"), 0)
        self.assertEqual(refused(b"GET / HTTP/1.0" + H + H), 400)
        self.assertEqual(heads.request(b"GET / HTTP/1.1\r\nHost: [::1]:80").host, b"[::1]")
        self.assertEqual(heads.request(b"GET / HTTP/1.1\r\nHost: A.b.:80").host, b"a.b")

    def test_an_absolute_target_names_the_same_host(self) -> None:
        self.assertEqual(refused(b"GET http://b/ HTTP/1.1" + H), 400)
        self.assertEqual(refused(b"GET http://u@a/ HTTP/1.1" + H), 400)
        self.assertEqual(refused(b"GET ftp://a/ HTTP/1.1" + H), 400)
        self.assertEqual(heads.request(b"GET http://A HTTP/1.1" + H).target, b"/")
        self.assertEqual(heads.request(b"GET http://a?x HTTP/1.1" + H).target, b"/?x")

    def test_connection_says_whether_it_stands(self) -> None:
        for version, value, keep in (
            (b"1.1", b"", True),
            (b"1.1", b"\r\nConnection: Close", False),
            (b"1.1", b"\r\nConnection: a\r\nConnection: b, close", False),
            (b"1.0", b"", False),
            (b"1.0", b"\r\nConnection: Keep-Alive", True),
            (b"1.0", b"\r\nConnection: keep-alive, close", False),
        ):
            self.assertEqual(heads.request(b"GET / HTTP/" + version + H + value).keep, keep, value)

    def test_what_is_expected_is_a_continue_or_nothing(self) -> None:
        self.assertTrue(heads.request(b"PUT / HTTP/1.1" + H + b"\r\nExpect: 100-Continue").expects)
        self.assertFalse(heads.request(b"PUT / HTTP/1.0" + H + b"\r\nExpect: 100-continue").expects)
        self.assertEqual(refused(b"PUT / HTTP/1.1" + H + b"\r\nExpect: wonders"), 417)

    def test_a_hopeless_beginning_is_seen_before_its_end(self) -> None:
        self.assertFalse(heads.hopeless(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r", 0))
        for data in (b"GET / HTTP/1.1\nHost", b"GET / HTTP/1.1\rHost", b"\x00", b"a\r\rb"):
            self.assertTrue(heads.hopeless(data, 0), data)
        self.assertTrue(heads.hopeless(b"GET\rx", 4))

    @given(st.binary(max_size=200))
    def test_anything_is_read_or_refused(self, data: bytes) -> None:
        refused(data)
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + data)


class AnswerTests(SynchronousTestCase):
    def test_a_head_is_read(self) -> None:
        found = answers.answer(b"HTTP/1.1 200 All right\r\nServer: x\r\nContent-Length: 3", b"GET")
        self.assertEqual((found.status, found.reason, found.length, found.keep), (200, b"All right", 3, True))
        self.assertEqual(found.lines, [b"Server: x"])

    def test_the_length_depends_on_status_and_method(self) -> None:
        for line, method, fields, length in (
            (b"HTTP/1.1 200", b"GET", b"", UNTIL_CLOSE),
            (b"HTTP/1.1 200 OK", b"GET", b"\r\nTransfer-Encoding: chunked", CHUNKED),
            (b"HTTP/1.1 200 OK", b"HEAD", b"\r\nTransfer-Encoding: chunked", 0),
            (b"HTTP/1.1 204 X", b"GET", b"", 0),
            (b"HTTP/1.1 304 X", b"GET", b"\r\nContent-Length: 5", 0),
            (b"HTTP/1.1 103 X", b"GET", b"", 0),
        ):
            self.assertEqual(answers.answer(line + fields, method).length, length, line)

    @given(st.binary(max_size=200))
    def test_anything_is_read_or_refused(self, data: bytes) -> None:
        for head in (data, b"HTTP/1.1 200 OK\r\n" + data):
            try:
                answers.answer(head, b"GET")
            except BadAnswer:
                continue


class KnownLinesTests(SynchronousTestCase):
    def test_what_is_known_is_bounded_and_changes_nothing(self) -> None:
        for number in range(2 * MAX_KNOWN):
            found = heads.request(b"GET / HTTP/1.1\r\nHost: h%d\r\nX: %d" % (number, number))
            self.assertEqual((found.host, found.lines), (b"h%d" % number, [b"X: %d" % number]))
        self.assertLessEqual(len(heads._KNOWN), MAX_KNOWN)

    def test_secrets_are_not_kept(self) -> None:
        heads.request(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nAuthorization: secret")
        self.assertFalse(any(b"secret" in line for line in heads._KNOWN))
