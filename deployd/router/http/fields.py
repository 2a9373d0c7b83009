"""Which fields of a head are passed on, which are the router's own business, and what it adds."""

from __future__ import annotations

import re
from itertools import product

# What the parser does with a field of a request; every other field is passed on as it came.
PASS = 0
DROP, HOST, LENGTH, ENCODING, CONNECTION, UPGRADE, EXPECT, COOKIE, COMMIT, CLAIM, TE = range(1, 12)
# At most one of these.
SAY_LENGTH = (LENGTH, ENCODING)

# What a client claims about those before it, believed only if it is trusted.
CLAIMS = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-real-ip",
    b"forwarded",
    b"via",
    b"x-request-id",
)

FORWARDED = b"x-forwarded-"


def _spellings(name: bytes) -> list[bytes]:
    """``name`` with each dash as a dash or an underscore, which many apps cannot tell apart (CGI's names)."""
    parts = name.split(b"-")
    return [
        b"".join(piece for pair in zip(parts, (*joints, b""), strict=True) for piece in pair)
        for joints in product((b"-", b"_"), repeat=len(parts) - 1)
    ]


IN_REQUEST: dict[bytes, int] = {
    **{spelling: DROP for name in CLAIMS for spelling in _spellings(name)},
    **dict.fromkeys(CLAIMS, CLAIM),
    b"content_length": DROP,
    b"transfer_encoding": DROP,
    b"x_deployd_commit": DROP,
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"proxy-authorization": DROP,
    # CGI would call it HTTP_PROXY, by which programs find their proxy.
    b"proxy": DROP,
    b"http2-settings": DROP,
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"cookie": COOKIE,
    b"x-deployd-commit": COMMIT,
    b"te": TE,
}


def in_request(name: bytes) -> int:
    """What the field ``name``, in lower case, of a request is."""
    kind = IN_REQUEST.get(name, PASS)
    if kind == PASS and is_forwarded(name):
        return CLAIM if name.startswith(FORWARDED) and b"_" not in name else DROP
    return kind


def is_forwarded(name: bytes) -> bool:
    """Whether it is one of X-Forwarded-*, of which each app believes others: -Ssl, -Prefix, -Scheme and so on."""
    return name[: len(FORWARDED)].replace(b"_", b"-") == FORWARDED


IN_ANSWER: dict[bytes, int] = {
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"proxy-authenticate": DROP,
    b"x-request-id": DROP,
    b"content-length": LENGTH,
    b"transfer-encoding": ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
}


def in_answer(name: bytes) -> int:
    """What the field ``name``, in lower case, of an answer is."""
    return IN_ANSWER.get(name, PASS)


# Fields that mean something for the framing or the routing of a message: too late in a trailer.
NOT_IN_TRAILERS = frozenset(IN_REQUEST) | {
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"max-forwards",
    b"proxy-authenticate",
    b"set-cookie",
    b"trailer",
}

VIA = b"1.1 deployd"
_SAID_ANEW = frozenset(
    (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"via", b"x-request-id")
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,128}")


class Origin:
    """What is added to every request of one client's connection, made once."""

    __slots__ = ("_address", "_node", "_proto", "_trusted")

    def __init__(self, address: str, secure: bool, trusted: bool) -> None:
        self._address = address.encode("ascii", "replace")
        # RFC 7239: an IPv6 address is in brackets and quotes.
        self._node = b'"[%b]"' % self._address if b":" in self._address else self._address
        self._proto = b"https" if secure else b"http"
        self._trusted = trusted

    def lines(self, host: bytes, claims: tuple[tuple[bytes, bytes], ...], own_id: bytes) -> tuple[bytes, bytes]:
        """The fields to add to a request for ``host``, each with its CRLF; and the request's id."""
        if claims and self._trusted:
            return self._among(host, claims, own_id)
        return (
            b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n"
            b'Forwarded: for=%b;proto=%b;host="%b"\r\nVia: 1.1 deployd\r\nX-Request-Id: %b\r\n'
            % (self._address, self._proto, host, self._node, self._proto, host, own_id)
        ), own_id

    def is_secure(self, claims: tuple[tuple[bytes, bytes], ...]) -> bool:
        """Whether the client came over TLS, to this router or to a trusted proxy before it."""
        said = [value for name, value in claims if name == b"x-forwarded-proto"] if self._trusted else []
        return (said[0].partition(b",")[0].strip().lower() if said else self._proto) == b"https"

    def _among(self, host: bytes, claims: tuple[tuple[bytes, bytes], ...], own_id: bytes) -> tuple[bytes, bytes]:
        """As ``lines``, after what the proxy before this one said."""
        said: dict[bytes, bytes] = {}
        for name, value in claims:
            said[name] = said[name] + b", " + value if name in said else value
        element = b'for=%b;proto=%b;host="%b"' % (self._node, self._proto, host)
        request_id = said.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = own_id
        lines = [
            b"X-Forwarded-For: " + _after(said.get(b"x-forwarded-for"), self._address),
            b"X-Forwarded-Proto: " + said.get(b"x-forwarded-proto", self._proto),
            b"X-Forwarded-Host: " + said.get(b"x-forwarded-host", host),
            b"Forwarded: " + _after(said.get(b"forwarded"), element),
            b"Via: " + _after(said.get(b"via"), VIA),
            b"X-Request-Id: " + request_id,
        ]
        lines += [name + b": " + value for name, value in said.items() if name not in _SAID_ANEW]
        return b"\r\n".join(lines) + b"\r\n", request_id


def _after(before: bytes | None, last: bytes) -> bytes:
    return before + b", " + last if before else last
