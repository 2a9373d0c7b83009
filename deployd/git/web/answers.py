"""How git requests are answered, in the reactor thread."""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request

from deployd.git.web.streaming import ClientGone


class Answer(Exception):
    """Ends a request with ``code`` and a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def begin(request: Request, content_type: str) -> None:
    """Say what comes, and that nobody may keep it."""
    request.setHeader(b"Content-Type", content_type.encode())
    request.setHeader(b"Cache-Control", b"no-cache, max-age=0, must-revalidate")
    request.setHeader(b"Pragma", b"no-cache")


def finish(request: Request, body: bytes) -> None:
    """Send ``body``, the last of it. Raise ClientGone when nobody is there."""
    if request.channel is None:
        raise ClientGone
    request.write(body)
    request.finish()


def refuse(request: Request, answer: Answer) -> None:
    """Send ``answer`` unless there is one already."""
    if request.startedWriting or request.finished:
        return
    body = str(answer).encode() + b"\n"
    request.setResponseCode(answer.code)
    request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(b"" if request.method == b"HEAD" else body)
    request.finish()


def take_body(request: Request) -> tuple[bytes, Any]:
    """(content encoding, body): from now on the thread's to close, since a lost connection closes the request's own.

    Raise OSError when there was no place for the body.
    """
    not_kept: OSError | None = getattr(request, "not_kept", None)
    if not_kept is not None:
        raise not_kept
    content, request.content = request.content, None
    return (request.getHeader(b"Content-Encoding") or b"").lower(), content
