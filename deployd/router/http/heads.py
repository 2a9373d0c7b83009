"""The heads of requests and answers, read strictly: what two programs could read differently is refused.

Note [Strict heads]
~~~~~~~~~~~~~~~~~~~
Request smuggling lives on heads that the proxy and the app read differently. So: lines end with CRLF and nothing else,
no control characters, no space before a colon, no folded lines, one Host, one meaning of the length; and nothing of a
message's framing is passed on, the router writes its own.
"""

from __future__ import annotations

import re

from deployd.router.http.fields import (
    CLAIM,
    COMMIT,
    CONNECTION,
    COOKIE,
    DROP,
    ENCODING,
    EXPECT,
    HOST,
    IN_ANSWER,
    IN_REQUEST,
    LENGTH,
    TE,
    UPGRADE,
    tokens,
    without,
)

MAX_HEAD = 65536
MAX_FIELDS = 100
MAX_TARGET = 16384
# Ways to say how long a body is, beside its length in bytes.
CHUNKED, UNTIL_CLOSE = -1, -2

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELDS = re.compile(rb"(?:\r\n" + _TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*)*")
_HOST_FIELD = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# What can be no head, however it goes on.
_HOPELESS = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\x00")


class Bad(Exception):
    """A request that is answered with ``status``, without asking an app."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class BadAnswer(Exception):
    """The app's answer is no HTTP."""


class Request:
    """The head of a request: what matters for its way, and ``lines``, the fields to pass on as they came."""

    __slots__ = (
        "claims",
        "commit",
        "cookies",
        "expects",
        "field",
        "host",
        "is_1_1",
        "keep",
        "length",
        "lines",
        "method",
        "target",
        "trailers",
        "upgrade",
    )

    method: bytes
    target: bytes
    is_1_1: bool
    # The Host field as it came, and its name in lower case without the port.
    field: bytes
    host: bytes
    lines: list[bytes]
    # Of the body: 0 and more, or CHUNKED.
    length: int
    # Whether the client lets its connection stand.
    keep: bool
    expects: bool
    upgrade: bytes
    # Whether it says that it takes trailers.
    trailers: bool
    cookies: bytes
    commit: bytes
    claims: list[tuple[bytes, bytes]]


class Answer:
    """The head of an app's answer. ``length`` may be UNTIL_CLOSE; ``keep`` is whether its connection stands."""

    __slots__ = ("is_1_1", "keep", "length", "lines", "reason", "status", "upgrade")

    status: int
    reason: bytes
    is_1_1: bool
    lines: list[bytes]
    length: int
    keep: bool
    upgrade: bytes


def hopeless(data: bytes, start: int) -> bool:
    """Whether the unfinished head ``data`` can be refused now, for what comes from ``start`` on."""
    return _HOPELESS.search(data, max(start - 1, 0)) is not None


def request(head: bytes) -> Request:
    """Read ``head``, which ends before its empty line; raise Bad."""
    start, crlf, rest = head.partition(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(start)
    if matched is None:
        raise Bad(400, "The first line of the request is not METHOD TARGET HTTP/1.1.")
    method, target, major, minor = matched.groups()
    if major != b"1":
        raise Bad(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if len(target) > MAX_TARGET:
        raise Bad(414, f"The request's target is longer than {MAX_TARGET} bytes.")
    if _FIELDS.fullmatch(head, len(start)) is None:
        raise Bad(400, "A field of the request's head is not NAME: VALUE on one line.")
    found = Request()
    found.method = method
    found.target = target
    found.is_1_1 = minor != b"0"
    found.upgrade = found.cookies = found.commit = b""
    found.expects = found.trailers = False
    found.claims = []
    _read_request_fields(found, rest.split(b"\r\n") if crlf else [])
    if target[:1] != b"/":
        _read_target(found)
    return found


def _read_request_fields(found: Request, lines: list[bytes]) -> None:
    if len(lines) > MAX_FIELDS:
        raise Bad(431, f"The request has more than {MAX_FIELDS} fields.")
    kept: list[bytes] = []
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    encodings: list[bytes] = []
    connection: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        kind = IN_REQUEST.get(name.lower())
        if kind is None:
            kept.append(line)
            continue
        if kind == DROP:
            continue
        value = value.strip(b" \t")
        if kind == HOST:
            hosts.append(value)
        elif kind == COOKIE:
            kept.append(line)
            found.cookies = found.cookies + b"; " + value if found.cookies else value
        elif kind == LENGTH:
            lengths.append(value)
        elif kind == ENCODING:
            encodings.append(value)
        elif kind == CONNECTION:
            connection += tokens(value)
        elif kind == UPGRADE:
            found.upgrade = found.upgrade + b", " + value if found.upgrade else value
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise Bad(417, "Only 100-continue can be expected here.")
            found.expects = found.is_1_1
        elif kind == COMMIT:
            kept.append(line)
            if found.commit:
                raise Bad(400, "X-Deployd-Commit is there twice.")
            found.commit = value
        elif kind == CLAIM:
            found.claims.append((name.lower(), value))
        elif kind == TE:
            found.trailers = b"trailers" in tokens(value)
    found.lines = kept
    _read_host(found, hosts)
    found.length = _request_length(found, lengths, encodings)
    _read_connection(found, connection)


def _read_host(found: Request, hosts: list[bytes]) -> None:
    if not hosts and not found.is_1_1:
        found.field = found.host = b""
        return
    if len(hosts) != 1:
        raise Bad(400, "The request has no Host." if not hosts else "The request has more than one Host.")
    matched = _HOST_FIELD.fullmatch(hosts[0])
    if matched is None or len(hosts[0]) > 300:
        raise Bad(400, "The request's Host is not a name or address with perhaps a port.")
    found.field = hosts[0]
    found.host = matched[1].lower()


def _request_length(found: Request, lengths: list[bytes], encodings: list[bytes]) -> int:
    if encodings:
        if lengths:
            raise Bad(400, "The request has both a Content-Length and a Transfer-Encoding.")
        if not found.is_1_1:
            raise Bad(400, "An HTTP/1.0 request has no Transfer-Encoding.")
        if len(encodings) != 1 or encodings[0].lower() != b"chunked":
            raise Bad(501, "The only Transfer-Encoding known here is chunked.")
        return CHUNKED
    if not lengths:
        return 0
    if any(length != lengths[0] for length in lengths):
        raise Bad(400, "The request has several Content-Lengths.")
    if not _LENGTH.fullmatch(lengths[0]):
        raise Bad(400, "The request's Content-Length is not a number of bytes.")
    return int(lengths[0])


def _read_connection(found: Request, connection: list[bytes]) -> None:
    if not connection:
        found.keep = found.is_1_1
        found.upgrade = b""
        return
    found.keep = b"close" not in connection and (found.is_1_1 or b"keep-alive" in connection)
    # HTTP/2 in the clear would be a way past the routes: h2c is never passed on.
    wanted = found.is_1_1 and b"upgrade" in connection and found.length == 0
    if not wanted or any(token.startswith(b"h2c") for token in tokens(found.upgrade)):
        found.upgrade = b""
    named = set(connection) - {b"close", b"keep-alive", b"upgrade", b"te"}
    if named:
        found.lines = without(found.lines, named)
        if b"cookie" in named:
            found.cookies = b""
        if b"x-deployd-commit" in named:
            found.commit = b""


def _read_target(found: Request) -> None:
    """A target that is not a path: make a path of it."""
    if found.method == b"CONNECT":
        raise Bad(501, "This is no proxy for CONNECT.")
    if found.target == b"*" and found.method == b"OPTIONS":
        return
    matched = _ABSOLUTE.fullmatch(found.target)
    if matched is None:
        raise Bad(400, "The request's target is not a path.")
    if matched[1].lower() != found.field.lower():
        raise Bad(400, "The request's target names another host than its Host field.")
    rest = matched[2]
    found.target = rest if rest.startswith(b"/") else b"/" + rest


def answer(head: bytes, method: bytes) -> Answer:
    """Read the head of an answer to a ``method`` request, without its empty line; raise BadAnswer."""
    start, crlf, rest = head.partition(b"\r\n")
    matched = _STATUS_LINE.fullmatch(start)
    if matched is None or _FIELDS.fullmatch(head, len(start)) is None:
        raise BadAnswer
    lines = rest.split(b"\r\n") if crlf else []
    if len(lines) > MAX_FIELDS:
        raise BadAnswer
    found = Answer()
    minor, status, reason = matched.groups()
    found.status = int(status)
    found.reason = reason or b""
    found.is_1_1 = minor == b"1"
    found.upgrade = b""
    _read_answer_fields(found, lines, method)
    return found


def _read_answer_fields(found: Answer, lines: list[bytes], method: bytes) -> None:
    kept: list[bytes] = []
    lengths: list[bytes] = []
    encodings: list[bytes] = []
    connection: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        kind = IN_ANSWER.get(name.lower())
        if kind is None:
            kept.append(line)
        elif kind == LENGTH:
            lengths.append(value.strip(b" \t"))
        elif kind == CONNECTION:
            connection += tokens(value)
        elif kind == ENCODING:
            encodings.append(value.strip(b" \t"))
        elif kind == UPGRADE:
            found.upgrade = value.strip(b" \t")
    found.lines = kept
    found.length = _answer_length(found, lengths, encodings, method)
    found.keep = found.is_1_1 and b"close" not in connection and found.length != UNTIL_CLOSE
    named = set(connection) - {b"close", b"keep-alive", b"upgrade"} if connection else None
    if named:
        found.lines = without(kept, named)


def _answer_length(found: Answer, lengths: list[bytes], encodings: list[bytes], method: bytes) -> int:
    status = found.status
    if lengths and (any(length != lengths[0] for length in lengths) or not _LENGTH.fullmatch(lengths[0])):
        raise BadAnswer
    if encodings and (lengths or not found.is_1_1 or len(encodings) != 1 or encodings[0].lower() != b"chunked"):
        raise BadAnswer
    if status < 200 or status == 204:
        return 0
    if status == 304 or method == b"HEAD":
        # What a GET's length would be is said, but nothing follows.
        if lengths:
            found.lines.append(b"Content-Length: " + lengths[0])
        return 0
    if encodings:
        return CHUNKED
    return int(lengths[0]) if lengths else UNTIL_CLOSE
