"""One commit's pack from the hub, over HTTP: a single request, bounded in time and bytes.

git's stateless protocol lets a client that knows the commit ask for it at once, and say in the same breath which other
commits it has, without their history: then only what they do not share comes.
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from attrs import frozen

from deployd.errors import Busy, Refused, SecretRefused, UnknownApp, UnknownCommit, Unreachable
from deployd.git import pktlines
from deployd.git.problems import BadRequest

_CAPABILITIES = b"multi_ack_detailed no-done side-band-64k thin-pack ofs-delta no-progress"
_SERVICE = "git-upload-pack"
_SILENCE = 60.0
_MAX_SHALLOW = 1000
_WORDS = 300


@frozen
class Source:
    """Where commits come from: the repository's ``url``, who asks and with which ``token``.

    ``roots``: the certificates (PEM) that HTTPS trusts, None: those that this system does.
    """

    url: str
    user: str
    token: str
    roots: str | None = None

    @property
    def shown(self) -> str:
        """Where that is, as a sentence may have it."""
        parts: Any = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def connection(self, wait: float) -> http.client.HTTPConnection:
        """One that is not open yet; ``wait`` seconds for each step. Raise Unreachable."""
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            context = _context(self.roots)
            return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=wait, context=context)
        if parts.scheme == "http" and parts.hostname:
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=wait)
        raise Unreachable(f"{self.shown} is not an HTTP address")


@frozen
class Request:
    """For ``commit``, from who has the commits ``here`` (40 hex digits each), but nothing of their history.

    ``deadline`` is a time of the monotonic clock.
    """

    source: Source
    commit: str
    here: tuple[str, ...]
    deadline: float

    def download(self, pack: BinaryIO, limit: int) -> None:
        """Write the pack to ``pack``. Raise Unreachable, Busy, SecretRefused, UnknownApp, UnknownCommit or Refused."""
        shown = self.source.shown
        try:
            with self._response() as response:
                stream = cast(BinaryIO, response)
                self._skip_shallow(stream)
                self._pack(stream, pack, limit)
        except BadRequest as error:
            raise Unreachable("the hub's answer ended early or is not git's") from error
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(f"the hub's certificate is not trusted: {error.verify_message}") from error
        except TimeoutError as error:
            raise Unreachable(f"commit {self.commit[:12]} did not arrive in time from {shown}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Unreachable(f"the hub's git service at {shown} cannot be reached: {reason}") from error

    @contextmanager
    def _response(self) -> Iterator[http.client.HTTPResponse]:
        connection = self.source.connection(max(0.1, min(_SILENCE, self.deadline - time.monotonic())))
        connection.response_class = partial(_TimedResponse, deadline=self.deadline)  # type: ignore[assignment]
        with closing(connection):
            path = f"{urlsplit(self.source.url).path.rstrip('/')}/{_SERVICE}"
            connection.request("POST", path, self._wants(), self._headers())
            with closing(connection.getresponse()) as response:
                self._check(response)
                yield response

    def _wants(self) -> bytes:
        lines = [f"want {self.commit} ".encode() + _CAPABILITIES]
        lines += [f"shallow {commit}".encode() for commit in self.here]
        lines += [b"deepen 1"]
        haves = [f"have {commit}".encode() for commit in self.here] + [b"done"]
        first, then = (b"".join(pktlines.line(line + b"\n") for line in part) for part in (lines, haves))
        return first + pktlines.FLUSH + then

    def _headers(self) -> dict[str, str]:
        credentials = base64.b64encode(f"{self.source.user}:{self.source.token}".encode()).decode()
        return {
            "Authorization": f"Basic {credentials}",
            "Content-Type": f"application/x-{_SERVICE}-request",
            "Accept": f"application/x-{_SERVICE}-result",
        }

    def _check(self, response: http.client.HTTPResponse) -> None:
        if response.status in (401, 403):
            raise SecretRefused("the hub's git service refused this drone's token")
        if response.status == 404:
            raise UnknownApp("the hub has no such repository")
        if response.status == 503:
            raise Busy(f"the hub's git service at {self.source.shown} is busy")
        kind = response.headers.get_content_type()
        if response.status != 200 or kind != f"application/x-{_SERVICE}-result":
            raise Unreachable(f"the hub's git service at {self.source.shown} answered {response.status}")

    def _skip_shallow(self, stream: BinaryIO) -> None:
        """Where history is cut is seen in what comes."""
        for number, _ in enumerate(self._lines(stream)):
            if number == _MAX_SHALLOW:
                raise Refused(f"the hub cuts the history of commit {self.commit[:12]} at too many places")

    def _pack(self, stream: BinaryIO, pack: BinaryIO, limit: int) -> None:
        size = 0
        for line in self._lines(stream):
            if line[:1] == b"\x03":
                why = " ".join(line[1:_WORDS].decode("utf-8", "replace").split())
                raise Refused(f"the hub ended the transfer of commit {self.commit[:12]}: {why}")
            if line[:1] == b"\x01":
                size += len(line) - 1
                if size > limit:
                    raise Refused(f"commit {self.commit[:12]} is larger than {limit} bytes")
                self._write(pack, line)

    def _write(self, pack: BinaryIO, line: bytes) -> None:
        try:
            pack.write(memoryview(line)[1:])
        except OSError as error:
            raise Refused(f"commit {self.commit[:12]} could not be stored: {error.strerror}") from error

    def _lines(self, stream: BinaryIO) -> Iterator[bytes]:
        """The lines up to the next flush. Many may be read at once, so the deadline is looked at for each."""
        while (line := pktlines.read_line(stream)) is not None:
            if time.monotonic() > self.deadline:
                raise TimeoutError
            if line.startswith(b"ERR "):
                raise UnknownCommit(f"the hub has no commit {self.commit[:12]} for this drone")
            yield line


def _context(roots: str | None) -> ssl.SSLContext:
    if roots == "":
        # Without any, the usual one would trust whom this system does.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cadata=roots)


class _TimedResponse(http.client.HTTPResponse):
    """An answer, headers included, that is read until ``deadline`` (seconds of the monotonic clock) at the latest.

    A timeout of the socket alone starts anew with each byte, so a hub could drip for days.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp: Any = io.BufferedReader(_TimedReads(cast(Any, self.fp).detach(), sock, deadline))


class _TimedReads(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(_SILENCE, left))
        return cast("int | None", cast(Any, self._raw).readinto(buffer))

    def close(self) -> None:
        self._raw.close()
        super().close()
