"""What Prometheus asks the registry for: whom to scrape, and its own figures."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from deployd.registry.metrics import COUNTERS, GAUGES, metrics_text
from tests.registry.rows import COMMIT, OTHER, row
from tests.registry.web import WebCase


class TargetTests(WebCase):
    def test_are_together_that_have_the_same_labels(self) -> None:
        meta = {"zone": "b", "x-y": 1, "x.y": 2, "on": True, "none": None, "list": [1]}
        self.put(row("a", 1), row("b", 2), row("c", 3, role="say", version="1.2.3", meta=meta))
        code, found = self.get("/v1/targets")
        labels = {
            "namespace": COMMIT,
            "app": "webapp",
            "release": "v1",
            "role": "http",
            "version": "",
            "drone": "alice",
        }
        plain = {f"__meta_deployd_{name}": text for name, text in labels.items()}
        more = {
            "__meta_deployd_role": "say",
            "__meta_deployd_version": "1.2.3",
            "__meta_deployd_meta_on": "true",
            "__meta_deployd_meta_x_y": "1",
            "__meta_deployd_meta_zone": "b",
        }
        self.assertEqual(
            (code, found),
            (
                200,
                [
                    {"targets": ["127.0.0.1:1", "127.0.0.1:2"], "labels": plain},
                    {"targets": ["127.0.0.1:3"], "labels": plain | more},
                ],
            ),
        )
        self.assertIn(b"Content-Type: application/json\r\n", self.ask("/v1/targets?match=http").value())

    def test_are_chosen_as_rows_are(self) -> None:
        self.put(row("a", 1), row("b", 2, namespace=OTHER, version="2.0.0", meta={"zone": "b"}))
        for query in ("match=http@2", f"namespace={OTHER[:6]}", "meta.zone=b"):
            self.assertEqual([found["targets"] for found in self.get(f"/v1/targets?{query}")[1]], [["127.0.0.1:2"]])
        self.assertEqual(self.get("/v1/targets?match=none"), (200, []))

    def test_of_version_6_are_in_brackets(self) -> None:
        self.seat = self.registry.attach("bob", "bob", b"", "", "fd00::7", lambda: None)
        self.put(row("a", 1, namespace="mine"))
        self.assertEqual(self.get("/v1/targets")[1][0]["targets"], ["[fd00::7]:1"])

    def test_may_have_their_metrics_at_another_port(self) -> None:
        self.put(
            row("a", 1, meta={"metrics": 9100}),
            row("b", 2, meta={"metrics": "9101"}),
            row("c", 3),
            *(row(f"d{number}", 4, meta={"metrics": said}) for number, said in enumerate((True, 0, 1.5, "x", 65536))),
        )
        found = self.get("/v1/targets?port=metrics")[1]
        self.assertEqual([one["targets"] for one in found], [["127.0.0.1:9100"], ["127.0.0.1:9101"]])
        self.assertEqual(
            {target for one in self.get("/v1/targets?port=9000")[1] for target in one["targets"]}, {"127.0.0.1:9000"}
        )
        for port in ("0", "65536", "9x", "123456"):
            self.assertEqual(self.get(f"/v1/targets?port={port}")[0], 400, port)
        # A superscript three is a key as good as any, whatever Python takes it for.
        self.assertEqual(self.get("/v1/targets?port=%C2%B3"), (200, []))


class MetricTests(WebCase):
    def test_are_what_prometheus_reads(self) -> None:
        self.put(row("a"), row("b"))
        transport = self.ask("/metrics")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", head)
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        values = {name: family.samples[0].value for name, family in families.items()}
        self.assertEqual(values["deployd_registry_revision"], 2)
        self.assertEqual(values["deployd_registry_http_connections"], 1)
        self.assertEqual(values["deployd_registry_http_streams"], 0)

    def test_are_all_that_the_registry_counts(self) -> None:
        self.assertEqual(set(self.registry.figures()) - {*GAUGES, *COUNTERS}, set())

    def test_are_all_documented(self) -> None:
        reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
        names = [name for name, _ in GAUGES.values()] + [f"{name}_total" for name, _ in COUNTERS.values()]
        self.assertEqual([name for name in names if f"| `{name}` |" not in reference], [])

    def test_have_names_and_types_as_prometheus_wants_them(self) -> None:
        text = metrics_text(dict.fromkeys([*GAUGES, *COUNTERS], 7)).decode()
        families = list(text_string_to_metric_families(text))
        self.assertEqual(len(families), len(GAUGES) + len(COUNTERS))
        for family in families:
            self.assertTrue(family.name.startswith("deployd_registry_"))
            self.assertTrue(family.documentation)
            self.assertEqual([sample.value for sample in family.samples], [7])
            self.assertEqual(family.samples[0].name.endswith("_total"), family.type == "counter")
