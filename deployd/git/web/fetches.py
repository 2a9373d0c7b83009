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
from deployd.git.problems import BadRequest, GitProblem
from deployd.git.receiving.reception import not_stored
from deployd.git.serving.advertising import UPLOAD
from deployd.git.web.answers import Answer, Body, begin, finish
from deployd.git.web.flights import Flights, Prepare
from deployd.git.web.pacing import Pacer
from deployd.git.web.streaming import ClientGone, Stream
from deployd.git.work import orders
from deployd.git.work.messages import Document
from deployd.git.work.orders import Order, Unfinished
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
        self._pacer = Pacer(reactor)

    async def answer(self, request: Request, repository: Path, version: int, deployed: bool) -> None:
        """Answer one request; raise Answer or ClientGone."""
        try:
            body = Body(request)
        except OSError as error:
            raise Answer(http.SERVICE_UNAVAILABLE, not_stored(error)) from error
        try:
            with body:
                understood = await self._understood(request, repository, body, version, deployed)
        except BadRequest as problem:
            self._log.info("Refused a fetch from {path}: {problem}", path=repository, problem=str(problem))
            raise Answer(http.BAD_REQUEST, str(problem)) from problem
        except GitProblem as problem:
            # What is wrong is here, and git shows its user only this.
            self._log.error("{path} is damaged: {problem}", path=repository, problem=str(problem))
            begin(request, f"application/x-{UPLOAD}-result")
            finish(request, pktlines.line(f"ERR upload-pack: {problem}".encode()))
            return
        if request.channel is None:
            raise ClientGone
        document = understood.document
        if document["refusal"]:
            self._log.info("Refused a fetch from {path}: {why}", path=repository, why=document["refusal"])
        begin(request, f"application/x-{UPLOAD}-result")
        if document["recipe"] is None:
            finish(request, understood.body)
            return
        request.write(understood.body)
        await self._send(request, repository, document)

    async def _understood(
        self, request: Request, repository: Path, body: Body, version: int, deployed: bool
    ) -> orders.Answer:
        question = self._question(repository, body, version, deployed, charted=False)
        answer = await self._ask(request, question)
        if not answer.document["charted"]:
            # Somebody else's pack, after `git gc` for example; it may take as long as a large push.
            await self._ask(request, self._heavy("chart", repository))
            question = self._question(repository, body, version, deployed, charted=True)
            answer = await self._ask(request, question)
        return answer

    async def _ask(self, request: Request, order: Order) -> orders.Answer:
        """Have it done for as long as the client is there."""
        asking = self._pool.run(order)
        request.notifyFinish().addErrback(lambda _: asking.cancel())
        try:
            return await asking
        except CancelledError:
            raise ClientGone from None

    async def _send(self, request: Request, repository: Path, document: Document) -> None:
        quiet, stall = document["quiet"], self._limits.stall_seconds
        try:
            flight = self._flights.join(
                f"{repository}:{document['key']}", self._prepare(repository, document["recipe"])
            )
        except Busy as problem:
            self._apologize(request, repository, problem)
            return
        means = self._reactor, request, flight.supply, self._in_thread, self._pacer
        stream = Stream(*means, quiet=quiet, stall=stall)
        try:
            await stream.run()
        except ClientGone:
            raise
        except Exception as problem:
            self._apologize(request, repository, problem)
        else:
            finish(request, b"")
        finally:
            self._flights.leave(flight)

    def _question(self, repository: Path, body: Body, version: int, deployed: bool, charted: bool) -> Order:
        return Order(
            name="understand",
            arguments={
                "repository": str(repository),
                "encoding": body.encoding,
                "version": version,
                "deployed": deployed,
                "charted": charted,
                "limits": to_json(self._limits),
            },
            body=body.content,
            file=body.file,
            repository=str(repository),
            seconds=self._limits.question_seconds,
            again=True,
        )

    def _prepare(self, repository: Path, recipe: Document) -> Prepare:
        return lambda file, note: self._pool.run(self._heavy("prepare", repository, file, recipe=recipe), note)

    def _heavy(self, name: str, repository: Path, file: int | None = None, **arguments: Any) -> Order:
        return Order(
            name=name,
            arguments={"repository": str(repository), **arguments},
            file=file,
            repository=str(repository),
            lane=orders.HEAVY,
            kind="fetch",
            seconds=self._limits.fetch_seconds,
            again=True,
        )

    def _apologize(self, request: Request, repository: Path, problem: Exception) -> None:
        """End an answer in whose middle it turned out that there is no pack."""
        sentence = _sentence(problem)
        self._log.warn("A pack of {path} was not made: {problem}", path=repository, problem=sentence or repr(problem))
        text = f"{sentence or 'the hub failed; its log says more'}\n".encode()
        finish(request, pktlines.sideband(pktlines.SIDEBAND_ERROR, text) + pktlines.FLUSH)


def _sentence(problem: Exception) -> str:
    """What a client may read of it; "": nothing, since nobody foresaw it."""
    if isinstance(problem, OSError):
        return f"the hub could not make the pack: {(problem.strerror or str(problem)).lower()}"
    return str(problem) if isinstance(problem, GitProblem | Busy | Unfinished) else ""
