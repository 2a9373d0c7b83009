"""The heads that the router writes, to an app and to a client."""

from __future__ import annotations

from deployd.router.http.answers import CHUNKED, Answer
from deployd.router.http.heads import Request

WITH_BODY = (b"POST", b"PUT", b"PATCH")


def to_app(request: Request, added: bytes) -> bytes:
    """The head of ``request`` with the lines ``added``; its length is said anew."""
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (request.method, request.target, request.field), *request.lines]
    length = request.length
    if length:
        lines.append(b"Transfer-Encoding: chunked" if length == CHUNKED else b"Content-Length: %d" % length)
    elif request.method in WITH_BODY:
        lines.append(b"Content-Length: 0")
    if request.expects:
        lines.append(b"Expect: 100-continue")
    if request.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + request.upgrade)
    elif request.trailers:
        lines.append(b"Connection: TE\r\nTE: trailers")
    lines.append(added)
    return b"\r\n".join(lines) + b"\r\n"


def interim(answer: Answer) -> bytes:
    """The head of an answer before the answer."""
    return b"\r\n".join([b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines]) + b"\r\n\r\n"


def to_client(request: Request, answer: Answer, keep: bool, cookie: bytes, request_id: bytes) -> bytes:
    """The head of ``answer``; whether its body is put in chunks depends on who asked and on its length."""
    lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines]
    length = answer.length
    if length > 0 or (length == 0 and answer.status not in (204, 304) and request.method != b"HEAD"):
        lines.append(b"Content-Length: %d" % length)
    elif length < 0 and request.is_1_1:
        lines.append(b"Transfer-Encoding: chunked")
    if cookie:
        lines.append(b"Set-Cookie: " + cookie)
    if not keep:
        lines.append(b"Connection: close")
    elif not request.is_1_1:
        lines.append(b"Connection: keep-alive")
    lines.append(b"Via: 1.1 deployd\r\nX-Request-Id: %b\r\n\r\n" % request_id)
    return b"\r\n".join(lines)


def switched(request: Request, answer: Answer, cookie: bytes, request_id: bytes) -> bytes:
    """The head after which the connection is a tunnel."""
    lines = [b"HTTP/1.1 101 " + (answer.reason or b"Switching Protocols"), *answer.lines]
    lines.append(b"Connection: Upgrade\r\nUpgrade: " + (answer.upgrade or request.upgrade))
    if cookie:
        lines.append(b"Set-Cookie: " + cookie)
    lines.append(b"Via: 1.1 deployd\r\nX-Request-Id: %b\r\n\r\n" % request_id)
    return b"\r\n".join(lines)
