"""The port table over HTTP: read-only, no secret asked for (docs/reference, HTTP)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted.web.resource import Resource
from twisted.web.server import Request

from deployd.errors import Busy
from deployd.model.invalid import Invalid
from deployd.model.names import shown
from deployd.model.registration import port_table
from deployd.registry.filter import RowFilter
from deployd.registry.service import Registry
from deployd.registry.site import Answer, BadRequest, JsonResource

MAX_WAIT = 60.0
MAX_VALUE = 200

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


def root(registry: Registry) -> Resource:
    """The registry's resource tree."""
    top, versioned = JsonResource(), JsonResource()
    top.putChild(b"healthz", Health(registry))
    top.putChild(b"v1", versioned)
    versioned.putChild(b"ports", Ports(registry))
    versioned.putChild(b"services", Services(registry))
    return top


class Ports(JsonResource):
    """``/v1/ports[/COMMIT]?app=&release=&role=&wait=``: ``{COMMIT: {ROLE: [{"host", "port"}]}}``."""

    def __init__(self, registry: Registry, namespace: str = "") -> None:
        super().__init__()
        self._registry = registry
        self._namespace = namespace

    def getChild(self, path: bytes, request: Request) -> Resource:
        if self._namespace:
            return JsonResource()
        return Ports(self._registry, path.decode("utf-8", "replace")) if path else self

    async def answer(self, request: Request) -> Answer:
        asked = arguments(request, "app", "release", "role", "wait")
        wanted = RowFilter(self._namespace, asked["app"], asked["release"], asked["role"])
        if not asked["wait"]:
            return Answer(port_table(self._registry.rows(wanted)))
        try:
            found = await self._registry.wait(wanted, _seconds(asked["wait"]), _address(request))
        except Busy as error:
            raise BadRequest(str(error), 429) from None
        return Answer(port_table(self._registry.rows(wanted)), 200 if found else 404)


class Services(JsonResource):
    """``/v1/services?match=ROLE[@VERSION]``: the rows of a role, whole."""

    isLeaf = True

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    async def answer(self, request: Request) -> Answer:
        wanted = _pattern(arguments(request, "match")["match"])
        return Answer([self._registry.document(row) for row in self._registry.rows(wanted)])


class Health(JsonResource):
    """``/healthz``: 200 while the registry serves."""

    isLeaf = True

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

    async def answer(self, request: Request) -> Answer:
        revision = self._registry.revision
        return Answer({"ok": True, "epoch": revision.epoch, "revision": revision.number})


def arguments(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters by name, "" for those not given; raise BadRequest for anything else."""
    given: Mapping[bytes, list[bytes]] = request.args or {}
    found = dict.fromkeys(known, "")
    for key, values in given.items():
        name = key.decode("utf-8", "replace")
        if name not in found:
            raise BadRequest(f"there is no parameter {shown(name)} here; there are {', '.join(known)}")
        if len(values) > 1:
            raise BadRequest(f"the parameter {name!r} is given more than once")
        found[name] = _text(name, values[0])
    return found


def _text(name: str, value: bytes) -> str:
    if len(value) > MAX_VALUE:
        raise BadRequest(f"the parameter {name!r} has more than {MAX_VALUE} bytes")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest(f"the parameter {name!r} is not UTF-8") from None


def _address(request: Request) -> str:
    """Who asks, for the bound per address; all who come through a UNIX socket are one."""
    return str(getattr(request.getClientAddress(), "host", ""))


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT:
        raise BadRequest(f"wait is a number of seconds from 0 to {MAX_WAIT:.0f}, not {shown(text)}")
    return float(text)


def _pattern(text: str) -> RowFilter:
    if not text:
        raise BadRequest("say which role: ?match=ROLE or ?match=ROLE@RANGE")
    try:
        return RowFilter.parse(text)
    except Invalid as error:
        raise BadRequest(str(error)) from None
