"""Answers that the router makes itself: a sentence, never an address or anything else of what is behind it."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

RETRY_AFTER = 1

OWN_FAULT = "The router failed; what happened is in its log."
NO_TARGET = "Nothing is ready to answer this right now; try again in a moment."
UNREACHABLE = "The app could not be asked, or went away before it answered."
BAD_ANSWER = "The app's answer was not understood."
TOO_SLOW = "The app did not answer in time."
SLOW_REQUEST = "The request did not come in time."
LONG_HEAD = "The head of the request is too long."
BAD_HEAD = "The head of the request has a line that does not end with CRLF, or a control character."
NO_HOST = "The request has no Host, without which it cannot be sent to HTTPS."
BAD_BODY = "The request's body is not in proper chunks."


def own_answer(
    status: int, sentence: str, request_id: bytes, keep: bool, without_body: bool = False, location: bytes = b""
) -> bytes:
    """A whole answer."""
    body = b"%b\nRequest: %b\n" % (sentence.encode("utf-8", "replace"), request_id)
    lines = [
        b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode()),
        b"Date: " + formatdate(usegmt=True).encode(),
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: %d" % len(body),
        b"X-Request-Id: " + request_id,
        b"Via: 1.1 deployd",
        b"Connection: keep-alive" if keep else b"Connection: close",
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(b"Retry-After: %d" % RETRY_AFTER)
    if location:
        lines.append(b"Location: " + location)
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if without_body else body)
