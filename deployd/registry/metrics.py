"""The registry's figures as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# By the name of the figure: the name after ``deployd_registry_``, and what it is (docs/reference, Metrics).
GAUGES = {
    "rows": ("rows", "Rows in the port table."),
    "marked_rows": ("marked_rows", "Rows whose owner is away: they fall unless it comes back."),
    "owners": ("owners", "Owners that are known, here or away."),
    "lost_owners": ("lost_owners", "Owners that are away."),
    "sessions": ("sessions", "Owners that are connected."),
    "revision": ("revision", "The number of the table's last change."),
    "history_changes": ("history_changes", "Changes that are kept for those who watch."),
    "watchers": ("watchers", "Watches that sleep until the next change."),
    "waiters": ("waiters", "Requests that wait for a first match."),
    "queued": ("queued_changes", "Changes that are decided and not on the disk yet."),
    "last_save_seconds": ("last_save_seconds", "Seconds that the last save took."),
    "streams": ("http_streams", "Watches over HTTP."),
    "connections": ("http_connections", "HTTP connections."),
    "large_answers": ("http_large_answers", "Answers over HTTP that are sent in slices."),
    "up": ("up", "Whether the registry takes what its owners write."),
}
COUNTERS = {
    "puts": ("puts", "Rows put."),
    "frees": ("frees", "Rows freed by their owners."),
    "expired": ("expired", "Rows that fell because their owner stayed away."),
    "transactions": ("transactions", "Changes of several rows or one, made together."),
    "refusals": ("refusals", "What owners wanted and did not get."),
    "saves": ("saves", "Times that changes were brought to the disk."),
    "save_seconds": ("save_seconds", "Seconds spent bringing changes to the disk."),
}


class RegistryMetrics(Collector):
    """Made from ``figures`` when they are asked for; a figure that is not there has no line."""

    def __init__(self, figures: Mapping[str, float]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for figure, (name, text) in GAUGES.items():
            if figure in self._figures:
                yield GaugeMetricFamily(f"deployd_registry_{name}", text, value=float(self._figures[figure]))
        for figure, (name, text) in COUNTERS.items():
            if figure in self._figures:
                yield CounterMetricFamily(f"deployd_registry_{name}", text, value=float(self._figures[figure]))


def metrics_text(figures: Mapping[str, float]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RegistryMetrics(figures))
    return generate_latest(registry)
