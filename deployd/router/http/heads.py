"""The heads of requests and answers, read strictly: what two programs could read differently is refused.

Note [Strict heads]
~~~~~~~~~~~~~~~~~~~
Request smuggling lives on heads that the proxy and the app read differently. So: lines end with CRLF and nothing else,
no control characters, no space before a colon, no folded lines, one Host, one meaning of the length; and nothing of a
message's framing is passed on, the router writes its own.
"""

from __future__ import annotations

import re

from deployd.router.http.answers import CHUNKED
from deployd.router.http.fields import (
    CLAIM,
    COMMIT,
    CONNECTION,
    COOKIE,
    DROP,
    ENCODING,
    EXPECT,
    HOST,
    LENGTH,
    PASS,
    SAY_LENGTH,
    TE,
    UPGRADE,
    in_request,
)
from deployd.router.http.lines import MAX_FIELDS, TOKEN, BadLine, KnownLines, name_of, tokens, without

MAX_HEAD = 65536
MAX_TARGET = 16384
MAX_HOST = 300
MAX_METHOD = 64

_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])")
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
    claims: tuple[tuple[bytes, bytes], ...]


NO_CLAIMS: tuple[tuple[bytes, bytes], ...] = ()


def hopeless(data: bytes, start: int) -> bool:
    """Whether the unfinished head ``data`` can be refused now, for what comes from ``start`` on."""
    return _HOPELESS.search(data, max(start - 1, 0)) is not None


def _host(value: bytes) -> tuple[bytes, bytes]:
    """The field as it came, and its name in lower case without the port and without the dot of the root."""
    matched = _HOST_FIELD.fullmatch(value)
    if matched is None or len(value) > MAX_HOST:
        raise Bad(400, "The request's Host is not a name or address with perhaps a port.")
    return value, matched[1].lower().removesuffix(b".")


def _length(value: bytes) -> int:
    if not _LENGTH.fullmatch(value):
        raise Bad(400, "The request's Content-Length is not a number of bytes.")
    return int(value)


def _encoding(value: bytes) -> int:
    if value.lower() != b"chunked":
        raise Bad(501, "The only Transfer-Encoding known here is chunked.")
    return CHUNKED


def _expected(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise Bad(417, "Only 100-continue can be expected here.")
    return True


def _trailers(value: bytes) -> bool:
    return b"trailers" in tokens(value)


_KNOWN = KnownLines(
    in_request,
    {HOST: _host, LENGTH: _length, ENCODING: _encoding, EXPECT: _expected, TE: _trailers, CONNECTION: tokens},
)


def request(head: bytes) -> Request:
    """Read ``head``, which ends before its empty line; raise Bad."""
    lines = head.split(b"\r\n")
    matched = _REQUEST_LINE.fullmatch(lines[0])
    if matched is None:
        raise Bad(400, "The first line of the request is not METHOD TARGET HTTP/1.1.")
    method, target, major, minor = matched.groups()
    if major != b"1":
        raise Bad(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
    if len(method) > MAX_METHOD:
        raise Bad(501, "The request's method is longer than any that there is.")
    if len(target) > MAX_TARGET:
        raise Bad(414, f"The request's target is longer than {MAX_TARGET} bytes.")
    del lines[0]
    if len(lines) > MAX_FIELDS:
        raise Bad(431, f"The request has more than {MAX_FIELDS} fields.")
    found = Request()
    found.method = method
    found.target = target
    found.is_1_1 = minor != b"0"
    found.field = found.host = found.upgrade = found.cookies = found.commit = b""
    found.expects = found.trailers = False
    found.claims = NO_CLAIMS
    found.length = 0
    try:
        _read_fields(found, lines)
    except BadLine:
        raise Bad(400, "A field of the request's head is not NAME: VALUE on one line.") from None
    if target[:1] != b"/":
        _read_target(found)
    return found


def _read_fields(found: Request, lines: list[bytes]) -> None:
    kept: list[bytes] = []
    connection: tuple[bytes, ...] = ()
    length: int | None = None
    known = _KNOWN
    for line in lines:
        kind, value = known[line]
        if kind == PASS:
            kept.append(line)
        elif kind == HOST:
            if found.field:
                raise Bad(400, "The request has more than one Host.")
            found.field, found.host = value
        elif kind in SAY_LENGTH:
            if length is not None and (value != length or kind == ENCODING):
                raise Bad(400, "The length of the request's body is said in more than one way.")
            length = value
        elif kind == CONNECTION:
            connection += value
        elif kind != DROP:
            _read_field(found, kept, line, kind, value)
    found.lines = kept
    if length is not None:
        if length == CHUNKED and not found.is_1_1:
            raise Bad(400, "An HTTP/1.0 request has no Transfer-Encoding.")
        found.length = length
    if not found.field and found.is_1_1:
        raise Bad(400, "The request has no Host.")
    _read_connection(found, connection)


def _read_field(found: Request, kept: list[bytes], line: bytes, kind: int, value: bytes | bool) -> None:
    """The less common ones."""
    if kind == EXPECT:
        found.expects = found.is_1_1
    elif kind == TE:
        found.trailers = bool(value)
    elif isinstance(value, bytes):
        if kind == COOKIE:
            kept.append(line)
            found.cookies = found.cookies + b"; " + value if found.cookies else value
        elif kind == UPGRADE:
            found.upgrade = found.upgrade + b", " + value if found.upgrade else value
        elif kind == COMMIT:
            if found.commit:
                raise Bad(400, "X-Deployd-Commit is there twice.")
            kept.append(line)
            found.commit = value
        elif kind == CLAIM:
            found.claims = (*found.claims, (name_of(line), value))


def _read_connection(found: Request, connection: tuple[bytes, ...]) -> None:
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
