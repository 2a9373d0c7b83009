"""The hub's HTTP site: request bodies are bounded while they arrive, not after.

twisted.web keeps any body in a file without a limit and only then asks a resource. Here a stranger's body may have
64 KiB and half a minute, a reader's or a pusher's what the limits say; one that is larger gets 413 and the connection
closes.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.web.http import REQUEST_ENTITY_TOO_LARGE, RESPONSES
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from deployd.git.web.smart_http import GitResource
from deployd.git.web.spool import Spool

_LINGER = 2.0
_GIT = b"application/x-git-"
_SENTENCE = b"the request is larger than this hub takes\n"


class GitRequest(Request):
    """A request whose body is held against its sender's limit as it comes in.

    ``not_kept`` is why there was no place for it, in which case ``content`` is empty.
    """

    log = Logger()
    channel: Any
    content: Any
    not_kept: OSError | None = None
    _asked = 0
    _room = 0
    _refused = False
    _deadline: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """The headers are complete: who is it, and how much may come?"""
        site, limits = self.channel.site, self.channel.site.git.limits
        kind = self.requestHeaders.getRawHeaders(b"Content-Type", [b""])[0]
        # Of other kinds twisted.web would parse a form of any size in memory, and deployd takes none.
        asked = site.git.room(self.getUser(), self.getPassword(), self.channel._path) if kind.startswith(_GIT) else 0
        self._asked = asked if self.getPassword() else 0
        self._room = limits.stranger_bytes + asked
        self.content = site.spool.open()
        if length is not None and length > self._room:
            self._refuse()
        elif length != 0:
            seconds = limits.body_seconds if asked and self.getPassword() else limits.stranger_seconds
            self._deadline = self.channel.callLater(seconds, self._abort)

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        if self._refused:
            return
        self._room -= len(data)
        if self._room < 0:
            self._refuse()
        elif self.not_kept is None:
            self._keep(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is complete."""
        self._forget_deadline()
        if self._refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def connectionLost(self, reason: Any) -> None:
        """The client is gone."""
        self._forget_deadline()
        super().connectionLost(reason)

    def _keep(self, data: bytes) -> None:
        try:
            self.content.write(data)
        except OSError as error:
            # The rest is let by, within its bounds: git reads no answer before it has sent everything.
            self.not_kept = error
            self.content.close()
            self.content = BytesIO()

    def _refuse(self) -> None:
        self._refused = True
        self._forget_deadline()
        self.requestHeaders.removeHeader(b"Expect")
        if self._asked:
            # git does not show its user the sentence.
            path = self.channel._path.decode("ascii", "backslashreplace")
            self.log.info("Refused a body of over {limit} bytes for {path}.", limit=self._asked, path=path)
        self.channel.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (REQUEST_ENTITY_TOO_LARGE, RESPONSES[REQUEST_ENTITY_TOO_LARGE], len(_SENTENCE), _SENTENCE)
        )
        # Closing at once would reset the connection under a client that still sends, and lose it the answer.
        self._deadline = self.channel.callLater(_LINGER, self._abort)

    def _abort(self) -> None:
        self._deadline = None
        self.channel.transport.abortConnection()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class GitSite(Site):
    """A site whose resource tree has ``git`` in it; ``spool`` is where large bodies wait (unnamed files).

    ``timeout`` closes a connection that is idle, in seconds.
    """

    def __init__(
        self, resource: IResource, git: GitResource, *, reactor: Any, spool: Path, timeout: float = 60
    ) -> None:
        super().__init__(resource, requestFactory=GitRequest, timeout=timeout, reactor=reactor)
        self.git = git
        self.spool = Spool(str(spool), git.limits.spool_bytes, reactor.callInThread)

    def log(self, request: object) -> None:
        """No line for each request: strangers make most of them, and what changes something is logged where it does."""
