"""The port table over HTTP: read-only (docs/reference, HTTP; deployd.registry.openapi says it all)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request

from deployd.model.registration import Registration
from deployd.registry.answers import Answer, Sendable, Table, Tables, Text
from deployd.registry.events import Events, Streams
from deployd.registry.filter import RowFilter
from deployd.registry.metrics import METRICS_TYPE, metrics_text
from deployd.registry.openapi import DESCRIPTION
from deployd.registry.parameters import FILTERS, arguments, near, row_filter, seconds
from deployd.registry.parts import groups, port_lists, row_list
from deployd.registry.position import Position
from deployd.registry.service import Registry
from deployd.registry.site import BadRequest, JsonResource, address_of
from deployd.registry.targets import TargetPort, alike, target_group


def root(
    registry: Registry, clock: IReactorTime, tables: Tables | None = None, streams: Streams | None = None
) -> Resource:
    """The registry's resource tree."""
    tables = tables or Tables(clock)
    streams = streams or Streams(registry, clock, tables.turns)
    top, versioned = JsonResource(), JsonResource()
    top.putChild(b"healthz", Health(registry))
    top.putChild(b"metrics", Metrics(registry, tables, streams))
    top.putChild(b"v1", versioned)
    versioned.putChild(b"ports", Ports(registry, tables))
    versioned.putChild(b"services", Services(registry, tables))
    versioned.putChild(b"targets", Targets(registry, tables))
    versioned.putChild(b"watch", Watch(streams))
    versioned.putChild(b"openapi.json", Description())
    return top


class TableResource(JsonResource):
    """What is made of the rows as they are when the answer begins."""

    def __init__(self, registry: Registry, tables: Tables) -> None:
        super().__init__()
        self._registry = registry
        self._tables = tables

    async def found(self, request: Request, wanted: RowFilter, wait: str) -> int:
        """The answer's status, once there is something or ``wait`` is over."""
        if not wait:
            return 200
        return 200 if await self._registry.wait(wanted, seconds(wait), address_of(request)) else 404

    async def rows(self, request: Request, wanted: RowFilter) -> Sequence[Registration]:
        """The rows as they are now; whoever wants many of them takes turns with the others who do."""
        if self._registry.is_large(wanted):
            self._tables.check(address_of(request))
            await self._tables.turns.next()
        return self._registry.candidates(wanted)

    def table(self, request: Request, parts: Any, code: int = 200) -> Table:
        return Table(self._tables, address_of(request), parts, code, self.revision())

    def revision(self) -> Mapping[str, str]:
        """From where a watch goes on after what is there now."""
        revision = self._registry.revision
        return {"x-deployd-revision": str(Position(revision.epoch, revision.number))}


class Ports(TableResource):
    """``/v1/ports[/COMMIT]?app=&release=&role=&wait=``: ``{COMMIT: {ROLE: [{"host", "port"}]}}``."""

    def __init__(self, registry: Registry, tables: Tables, namespace: str = "") -> None:
        super().__init__(registry, tables)
        self._namespace = namespace

    def getChild(self, path: bytes, request: Request) -> Resource:
        if self._namespace:
            return JsonResource()
        return Ports(self._registry, self._tables, path.decode("utf-8", "replace")) if path else self

    async def answer(self, request: Request) -> Sendable:
        asked = arguments(request, "app", "release", "role", "wait")
        wanted = RowFilter(self._namespace, asked["app"], asked["release"], asked["role"])
        code = await self.found(request, wanted, asked["wait"])
        return self.table(request, port_lists(await self.rows(request, wanted), wanted), code)


class Services(TableResource):
    """``/v1/services?match=ROLE[@RANGE]&...``: rows whole, those of ``near`` first."""

    isLeaf = True

    async def answer(self, request: Request) -> Sendable:
        asked = arguments(request, *FILTERS, "near", "wait", meta=True)
        wanted, first = row_filter(asked), near(asked["near"])
        code = await self.found(request, wanted, asked["wait"])
        rows = await self.rows(request, wanted)
        return self.table(request, row_list(rows, wanted, first, self._registry.document), code)


class Targets(TableResource):
    """``/v1/targets?match=...&port=``: what Prometheus' http_sd asks for."""

    isLeaf = True

    async def answer(self, request: Request) -> Sendable:
        asked = arguments(request, *FILTERS, "port", meta=True)
        wanted, port = row_filter(asked), TargetPort.parse(asked["port"])
        rows = await self.rows(request, wanted)
        return self.table(request, groups(rows, wanted, alike, target_group(port)))


class Watch(JsonResource):
    """``/v1/watch?since=POSITION&...``: server-sent events."""

    isLeaf = True

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self._streams = streams

    async def answer(self, request: Request) -> Sendable:
        asked = arguments(request, *FILTERS, "since")
        since = self._streams.registry.position(asked["since"])
        if asked["since"] and since is None:
            raise BadRequest("since is a position as an event's id has it, EPOCH.NUMBER, a revision's number, or now")
        # A browser that comes back cannot mend what it sends: it starts anew.
        last = request.getHeader("last-event-id")
        if last:
            since = Position.parse(last)
        return Events(self._streams, address_of(request), since, row_filter(asked))


class Health(JsonResource):
    """``/healthz``: 200 while the registry serves, 503 when it cannot take what its owners write."""

    isLeaf = True

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    async def answer(self, request: Request) -> Sendable:
        arguments(request)
        trouble = self._registry.trouble
        revision = self._registry.revision
        said = {"ok": not trouble, "epoch": revision.epoch, "revision": revision.number}
        return Answer(said | {"error": trouble}, 503) if trouble else Answer(said)


class Metrics(JsonResource):
    """``/metrics``: the registry's figures for Prometheus."""

    isLeaf = True

    def __init__(self, registry: Registry, tables: Tables, streams: Streams) -> None:
        super().__init__()
        self._registry = registry
        self._tables = tables
        self._streams = streams

    async def answer(self, request: Any) -> Sendable:
        arguments(request)
        figures = self._registry.figures()
        figures["streams"] = self._streams.count
        figures["large_answers"] = self._tables.count
        figures["connections"] = len(request.site.channels)
        return Text(metrics_text(figures), METRICS_TYPE)


class Description(JsonResource):
    """``/v1/openapi.json``: all of this."""

    isLeaf = True

    async def answer(self, request: Request) -> Sendable:
        arguments(request)
        return Answer(DESCRIPTION)
