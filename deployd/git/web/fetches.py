"""Fetches over HTTP: a worker understands what is asked for; its pack is made once and sent at its client's pace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.web import http
from twisted.web.server import Request

from deployd.errors import Busy
from deployd.git import pktlines
from deployd.git.limits import GitLimits
from deployd.git.problems import GitProblem, NotOurs
from deployd.git.serving.upload import UPLOAD
from deployd.git.web.answers import Answer, Body, begin, finish
from deployd.git.web.flights import Flights, Prepare
from deployd.git.web.streaming import ClientGone, Stream, abort
from deployd.git.work import orders
from deployd.git.work.messages import Document
from deployd.git.work.orders import Note, Order, Unfinished
from deployd.git.work.pool import Pool
from deployd.git.work.values import to_json


class Fetches:
    """Answers fetches; ``in_thread`` calls a function that blocks."""

    _log = Logger()

    def __init__(
        self, reactor: Any, limits: GitLimits, pool: Pool, flights: Flights, in_thread: Callable[..., Deferred[Any]]
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._pool = pool
        self._flights = flights
        self._in_thread = in_thread

    async def answer(self, request: Request, repository: Path, version: int, deployed: bool) -> None:
        """Answer one request; raise Answer or ClientGone."""
        try:
            with Body(request) as body:
                asking = self._pool.run(self._question(repository, body, version, deployed))
                request.notifyFinish().addErrback(lambda _: asking.cancel())
                understood = await asking
        except CancelledError:
            raise ClientGone from None
        except GitProblem as problem:
            self._refuse(request, repository, problem)
            return
        if request.channel is None:
            raise ClientGone
        begin(request, f"application/x-{UPLOAD}-result")
        document = understood.document
        if document["recipe"] is None:
            finish(request, understood.body)
            return
        if understood.body:
            request.write(understood.body)
        await self._send(request, repository, document)

    async def _send(self, request: Request, repository: Path, document: Document) -> None:
        flight = self._flights.join(f"{repository}\0{document['key']}", self._prepare(repository, document["recipe"]))
        stream = Stream(
            self._reactor,
            request,
            flight.supply,
            self._in_thread,
            framed=document["framed"],
            stall=self._limits.stall_seconds,
        )
        try:
            await stream.run()
        except ClientGone:
            raise
        except Exception as problem:
            self._apologize(request, repository, document["framed"], problem)
        else:
            finish(request, b"")
        finally:
            self._flights.leave(flight)

    def _question(self, repository: Path, body: Body, version: int, deployed: bool) -> Order:
        return Order(
            name="understand",
            arguments={
                "repository": str(repository),
                "encoding": body.encoding,
                "version": version,
                "deployed": deployed,
                "limits": to_json(self._limits),
            },
            body=body.content,
            file=body.file,
            repository=str(repository),
            seconds=self._limits.question_seconds,
            again=True,
        )

    def _prepare(self, repository: Path, recipe: Document) -> Prepare:
        def prepare(file: int, note: Note) -> Deferred[orders.Answer]:
            order = Order(
                name="prepare",
                arguments={"repository": str(repository), "recipe": recipe},
                file=file,
                repository=str(repository),
                lane=orders.HEAVY,
                kind="fetch",
                seconds=self._limits.fetch_seconds,
                again=True,
            )
            return self._pool.run(order, note)

        return prepare

    def _refuse(self, request: Request, repository: Path, problem: Exception) -> None:
        """Say what is wrong with a request of which nothing was answered yet."""
        self._log.info("Refused a fetch from {path}: {problem}", path=repository, problem=str(problem))
        if not isinstance(problem, NotOurs):
            raise Answer(http.BAD_REQUEST, str(problem)) from problem
        begin(request, f"application/x-{UPLOAD}-result")
        finish(request, pktlines.line(b"ERR " + str(problem).encode()))

    def _apologize(self, request: Request, repository: Path, framed: bool, problem: Exception) -> None:
        """End the answer in whichever way its client can understand."""
        if not request.startedWriting and isinstance(problem, GitProblem):
            self._refuse(request, repository, problem)
            return
        sentence = _sentence(problem)
        if sentence:
            self._log.warn("A pack of {path} was not made: {problem}", path=repository, problem=sentence)
        else:
            self._log.error("A pack of {path} was not made: {problem!r}", path=repository, problem=problem)
        if not request.startedWriting:
            raise Answer(http.SERVICE_UNAVAILABLE, sentence or "the hub failed; its log says more")
        if framed:
            text = f"{sentence or 'the hub failed; its log says more'}\n".encode()
            finish(request, pktlines.sideband(pktlines.SIDEBAND_ERROR, text) + pktlines.FLUSH)
        else:
            abort(request)


def _sentence(problem: Exception) -> str:
    """What a client may read of it; "": nothing, since nobody foresaw it."""
    if isinstance(problem, OSError):
        return f"the hub could not make the pack: {(problem.strerror or str(problem)).lower()}"
    return str(problem) if isinstance(problem, GitProblem | Busy | Unfinished) else ""
