"""The admin port: for those who run the router, on loopback unless they say otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request

from deployd.net.http import BoundedSite
from deployd.router.figures import Figures
from deployd.router.metrics import metrics_text

IDLE = 30.0
MAX_CONNECTIONS = 100
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STYLE = "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left}"


class Page(Resource):
    """What ``made`` gives: a status, a media type and a body."""

    isLeaf = True

    def __init__(self, made: Callable[[], tuple[int, str, bytes]]) -> None:
        super().__init__()
        self._made = made

    def render_GET(self, request: Request) -> bytes:
        status, media_type, body = self._made()
        request.setResponseCode(status)
        request.setHeader(b"content-type", media_type.encode())
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
        return body


class BodilessRequest(Request):
    """Nothing here takes a body: what is sent is not kept."""

    content: Any
    channel: Any

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length:
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        self.channel.loseConnection()


class AdminSite(BoundedSite):
    limit = MAX_CONNECTIONS

    def __init__(self, figures: Figures, reactor: IReactorTime) -> None:
        root = Resource()
        pages = {
            b"healthz": lambda: _health(figures),
            b"metrics": lambda: (200, METRICS_TYPE, metrics_text(figures)),
            b"status": lambda: (200, "text/html; charset=utf-8", status_page(figures.document()).encode()),
            b"status.json": lambda: (200, "application/json", _json(figures.document())),
        }
        for path, made in pages.items():
            root.putChild(path, Page(made))
        root.putChild(b"", Page(pages[b"status"]))
        super().__init__(root, requestFactory=BodilessRequest, timeout=IDLE, reactor=reactor)


def _health(figures: Figures) -> tuple[int, str, bytes]:
    if figures.healthy:
        return 200, "text/plain; charset=utf-8", b"ok\n"
    return 503, "text/plain; charset=utf-8", b"there is no table yet: hub and disk have none\n"


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def status_page(document: dict[str, Any]) -> str:
    """``Figures.document`` for people."""
    standing, now = document["standing"], document["now"]
    facts = {
        "hub": _connected(document["hub"]),
        "registry": f"{_connected(document['registry'])} ({document['registry']['address']})",
        "table": f"{standing['table']['number']} of {standing['table']['epoch']}",
        "rows": f"{standing['registry']['number']} of {standing['registry']['epoch']}",
        "workers": document["workers"],
        "connections": now["connections"],
        "requests under way": now["requests"],
        "routes": document["counts"]["routes"],
        "targets": document["counts"]["targets"],
    }
    parts = [_table(("", ""), facts.items())]
    table = document.get("table")
    if table is None:
        parts.append("<p>There are too many routes or targets to list them.</p>")
    else:
        parts += [_routes(table["routes"]), _targets(table["pools"]), _tallies(document["tallies"])]
    body = "\n".join(parts)
    return f"<!doctype html><title>deployd router</title><style>{_STYLE}</style><h1>deployd router</h1>\n{body}\n"


def _connected(link: dict[str, Any]) -> str:
    return "connected" if link["connected"] else "away"


def _routes(routes: list[dict[str, Any]]) -> str:
    rows = []
    for route in routes:
        shares = ", ".join(f"{share['release']} {share['percent']}% ({share['targets']})" for share in route["shares"])
        options = " ".join(name for name in ("preview", "sticky", "https") if route[name])
        path = "" if route["path"] == "/" else route["path"]
        rows.append((route["host"] + path, f"{route['app']}:{route['role']}", shares, options))
    return "<h2>Routes</h2>" + _table(("route", "app", "releases (targets)", ""), rows)


def _targets(pools: list[dict[str, Any]]) -> str:
    rows = []
    for pool in pools:
        for target in pool["targets"]:
            state = "leaving" if target["gone"] else "ejected" if target["ejected"] else "ready"
            where = f"{target['host']}:{target['port']}"
            rows.append((pool["app"], pool["release"], pool["role"], target["id"], where, state, target["in_flight"]))
    return "<h2>Targets</h2>" + _table(("app", "release", "role", "instance", "where", "state", "in flight"), rows)


def _tallies(tallies: list[dict[str, Any]]) -> str:
    rows = [
        (each["route"], each["release"], each["requests"], each["errors"], f"{1000 * each['mean']:.1f} ms")
        for each in tallies
    ]
    return "<h2>Requests</h2>" + _table(("route", "release", "requests", "errors", "mean"), rows)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"] if any(head) else []
    lines += ["<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "".join(lines) + "</table>"
