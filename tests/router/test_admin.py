"""The admin port's pages."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.admin import AdminSite
from deployd.router.figures import MAX_LISTED, Figures
from deployd.router.service import Router
from deployd.router.table import Table
from deployd.wire.workers import Gauge


class Link:
    connected = True
    address = "registry.example:6000"


class AdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.table = Table(self.clock)
        self.router = Router(self.clock, self.table, lambda *_: Deferred(), lambda: None)
        self.workers = 1
        figures = Figures(
            self.router,
            Link(),  # type: ignore[arg-type]
            Link(),  # type: ignore[arg-type]
            lambda: Gauge(connections=7, requests=3, dropped=2),
            lambda: self.workers,
        )
        self.site = AdminSite(figures, self.clock)

    def follow(self, *hosts: str) -> None:
        setting = Setting("webapp", "http", (Share("v1", 9), Share("v2", 1)), preview=True)
        items = [TableItem(route=RouteLine(RouteKey(host), setting)) for host in hosts]
        self.table.follow(Revision("e", 5), [*items, TableItem(drone=DroneHost("o", "10.0.0.1"))], True)
        row = Registration("http-1", "a" * 40, "http", "10.0.0.1", 20000, "webapp", "v1", owner="o")
        self.table.rows_changed([row], (), Revision("r", 3))
        self.router.has_table = True

    def ask(self, path: str, method: str = "GET", more: str = "") -> tuple[int, str, str]:
        """Status, head and body."""
        channel: Any = self.site.buildProtocol(None)
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection  # type: ignore[attr-defined]
        channel.makeConnection(transport)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head else 0
        return status, head.decode(), body.decode()

    def test_is_healthy_once_there_is_a_table_and_somebody_serves(self) -> None:
        self.assertEqual(self.ask("/healthz")[0], 503)
        self.follow("a.example")
        self.assertEqual(self.ask("/healthz")[::2], (200, "ok\n"))
        self.workers = 0
        self.assertEqual(self.ask("/healthz")[0], 503)

    def test_shows_routes_targets_and_links(self) -> None:
        self.follow("a.example")
        document = json.loads(self.ask("/status.json")[2])
        self.assertEqual(document["standing"]["table"], {"epoch": "e", "number": 5})
        self.assertEqual(document["counts"], {"routes": 1, "targets": 1})
        self.assertTrue(document["hub"]["connected"])
        status, head, body = self.ask("/status")
        self.assertEqual(status, 200)
        for text in ("a.example", "v1 90.0% (1)", "10.0.0.1:20000", "ready", "connected (registry.example:6000)"):
            self.assertIn(text, body)
        self.assertIn("default-src 'none'", head)
        self.assertEqual(self.ask("/")[2], body)

    def test_text_of_others_is_no_markup(self) -> None:
        self.follow("<script>")
        self.assertNotIn("<script>", self.ask("/status")[2])
        self.assertIn("&lt;script&gt;", self.ask("/status")[2])

    def test_a_large_table_is_not_listed(self) -> None:
        self.follow(*(f"host{number}.example" for number in range(MAX_LISTED + 1)))
        self.assertNotIn("table", json.loads(self.ask("/status.json")[2]))
        self.assertIn("too many", self.ask("/status")[2])

    def test_metrics_have_what_was_counted_and_how_it_stands(self) -> None:
        self.follow("a.example")
        decision: Any = self.table.decide(b"a.example", b"/", b"", b"", 0.0, 0.0)
        decision.count.add(200, 0.003)
        decision.count.add(502, 0.3)
        decision.count.add(200, 99.0)
        _, head, body = self.ask("/metrics")
        self.assertIn("text/plain; version=0.0.4", head)
        lines = body.splitlines()
        labels = 'host="a.example",path="/",release="v1"'
        bucket = 'deployd_router_latency_seconds_bucket{host="a.example",le="%s",path="/",release="v1"} %s'
        for line in (
            f'deployd_router_requests_total{{{labels},status="2xx"}} 2.0',
            f'deployd_router_requests_total{{{labels},status="5xx"}} 1.0',
            f"deployd_router_errors_total{{{labels}}} 1.0",
            bucket % ("0.005", "1.0"),
            bucket % ("0.5", "2.0"),
            bucket % ("10.0", "2.0"),
            bucket % ("+Inf", "3.0"),
            'deployd_router_targets{app="webapp",release="v1",role="http"} 1.0',
            "deployd_router_connections 7.0",
            "deployd_router_in_flight 3.0",
            "deployd_router_access_lines_dropped_total 2.0",
            "deployd_router_table_revision 5.0",
            "deployd_router_hub_up 1.0",
        ):
            self.assertIn(line, lines)

    def test_nothing_else_is_there_and_bodies_are_not_taken(self) -> None:
        self.assertEqual(self.ask("/x")[0], 404)
        self.assertEqual(self.ask("/healthz/x")[0], 503)
        self.assertEqual(self.ask("/healthz", "POST")[0], 405)
        self.assertEqual(self.ask("/healthz", "GET", "Content-Length: 1000000\r\n")[0], 0)
