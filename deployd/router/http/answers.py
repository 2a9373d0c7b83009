"""The heads of apps' answers, read as strictly as those of requests (Note [Strict heads])."""

from __future__ import annotations

import re

from deployd.router.http.fields import CONNECTION, ENCODING, LENGTH, PASS, SAY_LENGTH, UPGRADE, in_answer
from deployd.router.http.lines import MAX_FIELDS, BadLine, KnownLines, tokens, without

# Ways to say how long a body is, beside its length in bytes.
CHUNKED, UNTIL_CLOSE = -1, -2

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class BadAnswer(Exception):
    """The app's answer is no HTTP."""


class Answer:
    """``lines`` are the fields to pass on as they came; ``keep`` is whether the app's connection stands.

    ``length`` is that of the body, or CHUNKED, or UNTIL_CLOSE.
    """

    __slots__ = ("is_1_1", "keep", "length", "lines", "reason", "status", "upgrade")

    status: int
    reason: bytes
    is_1_1: bool
    lines: list[bytes]
    length: int
    keep: bool
    upgrade: bytes


def _length(value: bytes) -> int:
    if not _LENGTH.fullmatch(value):
        raise BadAnswer
    return int(value)


def _encoding(value: bytes) -> int:
    if value.lower() != b"chunked":
        raise BadAnswer
    return CHUNKED


_KNOWN = KnownLines(in_answer, {LENGTH: _length, ENCODING: _encoding, CONNECTION: tokens})


def answer(head: bytes, method: bytes) -> Answer:
    """Read the head of an answer to a ``method`` request, without its empty line; raise BadAnswer."""
    lines = head.split(b"\r\n")
    matched = _STATUS_LINE.fullmatch(lines[0])
    if matched is None or len(lines) > MAX_FIELDS + 1:
        raise BadAnswer
    minor, status, reason = matched.groups()
    del lines[0]
    found = Answer()
    found.status = int(status)
    found.reason = reason or b""
    found.is_1_1 = minor == b"1"
    found.upgrade = b""
    try:
        _read_fields(found, lines, method)
    except BadLine as bad:
        raise BadAnswer from bad
    return found


def _read_fields(found: Answer, lines: list[bytes], method: bytes) -> None:
    kept: list[bytes] = []
    length: int | None = None
    connection: tuple[bytes, ...] = ()
    known = _KNOWN
    for line in lines:
        kind, value = known[line]
        if kind == PASS:
            kept.append(line)
        elif kind in SAY_LENGTH:
            # The same length twice is one; anything else could be read in two ways.
            if length is not None and (value != length or kind == ENCODING):
                raise BadAnswer
            length = value
        elif kind == CONNECTION:
            connection += value
        elif kind == UPGRADE:
            found.upgrade = value
    found.lines = kept
    found.length = _body_length(found, length, method)
    found.keep = found.is_1_1 and b"close" not in connection and found.length != UNTIL_CLOSE
    if connection:
        named = {token for token in connection if token not in (b"close", b"keep-alive", b"upgrade")}
        if named:
            found.lines = without(kept, named)


def _body_length(found: Answer, said: int | None, method: bytes) -> int:
    status = found.status
    if said == CHUNKED and not found.is_1_1:
        raise BadAnswer
    if status < 200 or status == 204:
        return 0
    if status == 304 or method == b"HEAD":
        # What a GET's length would be is said, but nothing follows.
        if said is not None and said >= 0:
            found.lines.append(b"Content-Length: %d" % said)
        return 0
    return UNTIL_CLOSE if said is None else said
