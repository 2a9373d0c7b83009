"""An HTTP server that costs little whoever talks to it: bounded bodies, connections and idle time."""

from __future__ import annotations

import socket
from collections import Counter
from io import BytesIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.errors import Busy
from deployd.net.http import CONNECTION_DONE, MAX_CONNECTIONS, BoundedChannel, BoundedSite
from deployd.net.turns import Turns
from deployd.registry.answers import Answer, Sendable

MAX_BODY = 4096
IDLE = 30.0

# Of MAX_CONNECTIONS, so that one address alone does not shut out the others; many programs may share it.
CONNECTIONS_PER_ADDRESS = 3500

# So long a peer may leave unacknowledged what was sent to it: one whose machine is gone never says so.
UNACKNOWLEDGED = 60.0

_TOO_LARGE = b'{"error": "the request is larger than the registry takes"}\n'
_REFUSAL = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"


class BadRequest(Exception):
    """A request that is not answered: the HTTP status, and the sentence for whoever sent it."""

    def __init__(self, sentence: str, code: int = 400) -> None:
        super().__init__(sentence)
        self.code = code


class JsonResource(Resource):
    """Answers GET and HEAD with what ``answer`` returns; every error is ``{"error": SENTENCE}``."""

    _log = Logger()

    async def answer(self, request: Request) -> Sendable:
        """What is at this path; raise BadRequest or Busy. Cancelled when the client goes away."""
        raise BadRequest("there is nothing at this path; try /v1/ports, /v1/services or /v1/openapi.json", 404)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return JsonResource()

    def render(self, request: Request) -> Any:
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(_forget)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        try:
            channel: Any = request.channel
            await channel.turn()
            answer = await self._admitted(request)
            await answer.send(request)
        except CancelledError:
            raise
        except Busy as error:
            await Answer({"error": str(error)}, 429).send(request)
        except BadRequest as error:
            await Answer({"error": str(error)}, error.code).send(request)
        except Exception:  # one request's trouble is not the next one's
            self._log.failure("while answering a request")
            if request.startedWriting:
                _cut_off(request)
            else:
                await Answer({"error": "the registry failed inside; its log says more"}, 500).send(request)

    async def _admitted(self, request: Any) -> Sendable:
        site: JsonSite = request.site
        if site.is_public:
            request.setHeader(b"access-control-allow-origin", b"*")
            request.setHeader(b"access-control-expose-headers", b"x-deployd-revision, retry-after")
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            raise BadRequest("only GET and HEAD are answered here", 405)
        return await self.answer(request)


def _forget(failure: Failure) -> None:
    """Whoever asked is gone, and what was under way goes too: frames would keep all of it (Note [Gone at once])."""
    failure.trap(CancelledError)
    if failure.value is not None:
        failure.value.__traceback__ = None
    failure.cleanFailure()


def _cut_off(request: Any) -> None:
    if request.channel is not None:
        request.channel.transport.abortConnection()


def address_of(request: Request) -> str:
    """Who asks, for the bounds per address; all who come through a UNIX socket are one."""
    return str(getattr(request.getClientAddress(), "host", ""))


class SmallRequest(Request):
    """A request without much of a body: twisted.web would keep any in a file and parse forms of any size."""

    channel: Any
    content: Any
    _size = 0

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None:
            self._check(length)

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        self._check(self._size)

    def _check(self, size: int) -> None:
        if size > MAX_BODY:
            self.channel.refuse(b"413 Request Entity Too Large")


class SmallChannel(BoundedChannel):
    """The time for a request to arrive is bounded, its little body included."""

    # A line that is nearly too long for itself (MAX_LENGTH, 16 KiB), and some of the usual length beside it.
    totalHeadersSize = 20 * 1024

    _host = ""
    _turn_ends = 0.0

    def connectionMade(self) -> None:
        self._host = str(getattr(self.transport.getPeer(), "host", ""))
        self.factory.addresses[self._host] += 1
        super().connectionMade()
        _notice_silence(self.transport)

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        addresses = self.factory.addresses
        addresses[self._host] -= 1
        if not addresses[self._host]:
            del addresses[self._host]
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if data:
            self._turn_ends = self.factory.turns.end()
        super().dataReceived(data)

    async def turn(self) -> None:
        """Come back when the next of the requests that came in at once may be answered (deployd.net.turns)."""
        turns: Turns = self.factory.turns
        if turns.is_over(self._turn_ends):
            await turns.next()
            self._turn_ends = turns.end()

    def resetTimeout(self) -> None:
        """Each request has IDLE seconds, however it trickles."""

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(b"431 Request Header Fields Too Large")

    def refuse(self, status: bytes) -> None:
        """Answer in the middle of a request that is too large, and hear no more of it."""
        if not self.transport.disconnecting:
            self.transport.write(_REFUSAL % (status, len(_TOO_LARGE), _TOO_LARGE))
            self.loseConnection()


def _notice_silence(transport: Any) -> None:
    """Have the kernel end connections whose peer acknowledges nothing."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNACKNOWLEDGED * 1000))


class JsonSite(BoundedSite):
    """A site of JsonResources on ``reactor``'s clock; more than ``limit`` connections are closed at once.

    ``is_public``: everybody may read, and so may any page in a browser.
    """

    protocol: Any = SmallChannel
    is_public = True

    def __init__(
        self,
        resource: Resource,
        reactor: IReactorTime,
        limit: int = MAX_CONNECTIONS,
        per_address: int = CONNECTIONS_PER_ADDRESS,
    ) -> None:
        super().__init__(resource, requestFactory=SmallRequest, timeout=IDLE, reactor=reactor)
        self.limit = limit
        self.turns = Turns(reactor)
        self.addresses: Counter[str] = Counter()
        self._per_address = per_address

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.addresses.get(str(getattr(addr, "host", "")), 0) >= self._per_address:
            return None
        return super().buildProtocol(addr)
