"""The body of a request on its way to the app."""

from __future__ import annotations

from deployd.router.http.answers import CHUNKED
from deployd.router.http.bodies import Chunked, Length, chunk, last_chunk


class Upload:
    """``replay`` is all that was sent, in case it has to be sent again; None once it was more than ``limit``."""

    __slots__ = ("_body", "_limit", "replay")

    def __init__(self, length: int, limit: int) -> None:
        self._body = Chunked() if length == CHUNKED else Length(length)
        self._limit = limit
        self.replay: bytes | None = b""

    @property
    def done(self) -> bool:
        return self._body.done

    @property
    def rest(self) -> bytes:
        """What came after the body."""
        return self._body.rest

    def feed(self, data: bytes) -> bytes:
        """What to send for ``data``; raise BadBody."""
        body = self._body
        out = body.feed(data)
        if isinstance(body, Chunked):
            out = chunk(out) if out else b""
            if body.done:
                out += last_chunk(body.trailers)
        if self.replay is not None:
            self.replay = self.replay + out if len(self.replay) + len(out) <= self._limit else None
        return out
