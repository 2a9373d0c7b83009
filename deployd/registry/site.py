"""An HTTP server that costs little whoever talks to it: JSON answers; bounded bodies, connections and idle time."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from deployd.net.http import MAX_CONNECTIONS, BoundedChannel, BoundedSite

MAX_BODY = 4096
IDLE = 30.0

_TOO_LARGE = b'{"error": "the request is larger than the registry takes"}\n'


class BadRequest(Exception):
    """A request that is not answered: the HTTP status, and the sentence for whoever sent it."""

    def __init__(self, sentence: str, code: int = 400) -> None:
        super().__init__(sentence)
        self.code = code


@frozen
class Answer:
    """A JSON document and its HTTP status."""

    document: Any
    code: int = 200


class JsonResource(Resource):
    """Answers GET and HEAD with what ``answer`` returns; every error is ``{"error": SENTENCE}``."""

    _log = Logger()

    async def answer(self, request: Request) -> Answer:
        """What is at this path; raise BadRequest. Cancelled when the client goes away."""
        raise BadRequest("there is nothing at this path; try /v1/ports, /v1/services?match=ROLE or /healthz", 404)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return JsonResource()

    def render(self, request: Request) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            _write(request, Answer({"error": "only GET and HEAD are answered here"}, 405))
            return NOT_DONE_YET
        answering = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        answering.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self.answer(request)
        except CancelledError:
            raise
        except BadRequest as error:
            answer = Answer({"error": str(error)}, error.code)
        except Exception:  # one request's trouble is not the next one's
            self._log.failure("while answering a request")
            answer = Answer({"error": "the registry failed inside; its log says more"}, 500)
        _write(request, answer)


def _write(request: Request, answer: Answer) -> None:
    body = json.dumps(answer.document).encode() + b"\n"
    request.setResponseCode(answer.code)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


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
        channel = self.channel
        if size <= MAX_BODY or channel.transport.disconnecting:
            return
        channel.transport.write(
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE)
        )
        channel.loseConnection()


class SmallChannel(BoundedChannel):
    """The time for a request to arrive is bounded, its little body included."""

    def resetTimeout(self) -> None:
        """Each request has IDLE seconds, however it trickles."""


class JsonSite(BoundedSite):
    """A site of JsonResources on ``reactor``'s clock; more than ``limit`` connections are closed at once."""

    protocol: Any = SmallChannel

    def __init__(self, resource: Resource, reactor: IReactorTime, limit: int = MAX_CONNECTIONS) -> None:
        super().__init__(resource, requestFactory=SmallRequest, timeout=IDLE, reactor=reactor)
        self.limit = limit
