"""How git requests are answered, in the reactor thread."""

from __future__ import annotations

import os
from typing import Any, cast

from twisted.web.server import Request

from deployd.git.web.streaming import ClientGone

_LONG = 100_000


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
    if not request.startedWriting:
        request.setHeader(b"Content-Length", b"%d" % len(body))
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


class Body:
    """The body of a request, for a worker: its ``content``, or an open ``file`` when it is long; closed on exit.

    It is taken away from the request, which would close it when the connection is lost. Raise OSError when there was no
    place for it.
    """

    def __init__(self, request: Request) -> None:
        not_kept: OSError | None = getattr(request, "not_kept", None)
        if not_kept is not None:
            raise not_kept
        self.encoding = (request.getHeader(b"Content-Encoding") or b"").lower().decode("ascii", "replace")
        self._stream, request.content = cast(Any, request.content), None
        self._stream.seek(0, os.SEEK_END)
        is_long = self._stream.tell() > _LONG
        self._stream.seek(0)
        self.content = b"" if is_long else cast(bytes, self._stream.read())
        self.file: int | None = self._stream.fileno() if is_long else None
        self._stream.flush()

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
