"""The figures as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from deployd.model.route import LATENCIES, Tally
from deployd.router.figures import Figures

_ROUTE = ("host", "path", "release")
_POOL = ("app", "release", "role")


class RouterMetrics(Collector):
    """Made from the figures whenever they are asked for: requests pay for nothing but their tallies."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._figures.tallies())
        yield from self._targets()
        gauge, standing = self._figures.gauge(), self._figures.router.standing()
        dropped = CounterMetricFamily("deployd_router_access_lines_dropped", "Lines of the access log not written.")
        dropped.add_metric((), gauge.dropped)
        yield dropped
        for name, text, value in (
            ("connections", "Connections of clients.", gauge.connections),
            ("ejected", "Targets in trouble, as the process sees it that has most.", gauge.ejected),
            ("in_flight", "Requests under way.", gauge.requests),
            ("workers", "Processes that serve.", self._figures.workers()),
            ("routes", "Routes that are followed.", len(self._figures.router.table.hosts.routes)),
            ("table_revision", "The number of the hub's table that is followed.", standing.table.number),
            ("registry_revision", "The number of the registry's table that is followed.", standing.registry.number),
            ("hub_up", "Whether the hub is connected.", self._figures.hub.connected),
            ("registry_up", "Whether the registry is connected.", self._figures.registry.connected),
        ):
            yield GaugeMetricFamily(f"deployd_router_{name}", text, value=float(value))

    def _targets(self) -> Iterator[Metric]:
        targets = GaugeMetricFamily("deployd_router_targets", "Targets that get requests.", labels=_POOL)
        for app, release, role, count in self._figures.targets():
            targets.add_metric((app, release, role), count)
        yield targets


def metrics_text(figures: Figures) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RouterMetrics(figures))
    return generate_latest(registry)


def _requests(tallies: Iterable[Tally]) -> Iterator[Metric]:
    requests = CounterMetricFamily("deployd_router_requests", "Requests answered.", labels=(*_ROUTE, "status"))
    errors = CounterMetricFamily("deployd_router_errors", "Requests answered 5xx.", labels=_ROUTE)
    latency = HistogramMetricFamily("deployd_router_latency_seconds", "Time until an answer's head.", labels=_ROUTE)
    bounds = [*map(str, LATENCIES), "+Inf"]
    for tally in tallies:
        labels = (tally.key.host, tally.key.path, tally.release)
        for digit, count in enumerate(tally.classes, 1):
            if count:
                requests.add_metric((*labels, f"{digit}xx"), count)
        errors.add_metric(labels, tally.errors)
        counts = accumulate(tally.slow or [0] * len(bounds))
        latency.add_metric(labels, list(zip(bounds, map(float, counts), strict=True)), sum_value=tally.seconds)
    yield from (requests, errors, latency)
