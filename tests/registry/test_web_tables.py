"""Answers of many rows over HTTP: in slices, of the rows as they were, as fast as they are read."""

from __future__ import annotations

import json
from typing import Any

from deployd.model.registration import Registration, port_table
from deployd.registry.answers import LONGEST, SLICE_BYTES
from deployd.registry.filter import RowFilter
from deployd.registry.outflow import PATIENCE
from deployd.registry.parts import port_lists
from tests.registry.rows import COMMIT, OTHER, row
from tests.registry.web import Transport, WebCase, gone

MANY = 2500


class TableCase(WebCase):
    def setUp(self) -> None:
        super().setUp()
        self.rows = [row(f"r{number:04}", number + 1, namespace=(COMMIT, OTHER)[number % 2]) for number in range(MANY)]
        self.put(*self.rows)

    def settle(self) -> None:
        self.clock.pump([0] * 100)

    def document(self, transport: Transport) -> Any:
        head, _, rest = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Transfer-Encoding: chunked", head)
        self.assertTrue(rest.endswith(b"0\r\n\r\n"))
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return json.loads(body)


class TableTests(TableCase):
    def test_is_made_a_slice_at_a_time_and_whole_in_the_end(self) -> None:
        transport = self.ask("/v1/services?match=http")
        first = len(transport.value())
        self.assertLess(first, SLICE_BYTES * 1.1)
        self.settle()
        self.assertGreater(len(transport.value()), 5 * first)
        self.assertEqual([found["id"] for found in self.document(transport)], [one.id for one in self.rows])
        self.assertEqual(self.tables.count, 0)
        self.channel.connectionLost(gone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_of_the_rows_as_they_were(self) -> None:
        transport = self.ask("/v1/services?match=http")
        self.put(row("z"))
        self.registry.leave(self.seat)
        self.settle()
        found = self.document(transport)
        self.assertEqual(len(found), MANY)
        self.assertTrue(found[-1]["marked"])
        self.assertIn(b"X-Deployd-Revision: epoch.%d\r\n" % MANY, transport.value())

    def test_of_ports_is_sorted(self) -> None:
        transport = self.ask("/v1/ports")
        self.settle()
        self.assertEqual(self.document(transport), port_table(self.registry.rows(RowFilter())))

    def test_waits_for_a_turn_and_what_is_about_few_rows_does_not(self) -> None:
        self.put(*[row(f"r{number}", role="say") for number in range(5000)], row("few", role="db"))
        for query in ("", "?match=say", "?app=webapp", "?namespace=" + COMMIT[:7]):
            transport = self.ask(f"/v1/services{query}")
            self.assertEqual(transport.value(), b"", query)
            self.channel.connectionLost(gone())
        self.assertIn(b'"few"', self.ask("/v1/services?match=db").value())

    def test_shares_the_connection_with_what_is_asked_for_next(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(
            b"GET /v1/services?match=http HTTP/1.1\r\nHost: r\r\n\r\nGET /healthz HTTP/1.1\r\nHost: r\r\n\r\n"
        )
        self.settle()
        self.assertEqual(transport.value().count(b"200 OK"), 2)
        self.assertFalse(transport.disconnecting)

    def test_has_a_head_only_for_those_who_ask_for_it(self) -> None:
        transport = self.ask("/v1/services?match=http", "HEAD")
        self.settle()
        self.assertTrue(transport.value().endswith(b"\r\n\r\n"))

    def test_waits_for_its_reader(self) -> None:
        transport = self.ask("/v1/services?match=http")
        transport.producer.pauseProducing()
        self.settle()
        held = len(transport.value())
        self.settle()
        self.assertEqual(len(transport.value()), held)
        self.clock.advance(PATIENCE - 1)
        transport.producer.resumeProducing()
        self.settle()
        self.assertEqual(len(self.document(transport)), MANY)

    def test_for_somebody_who_never_reads_is_cut_off(self) -> None:
        transport = self.ask("/v1/services?match=http")
        transport.producer.pauseProducing()
        self.clock.advance(PATIENCE)
        self.assertTrue(transport.disconnecting)
        self.channel.connectionLost(gone())
        self.assertEqual(self.tables.count, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_for_somebody_who_reads_too_slowly_is_cut_off(self) -> None:
        transport = self.ask("/v1/services?match=http")
        for _ in range(int(LONGEST / (PATIENCE / 2)) + 1):
            transport.producer.pauseProducing()
            self.clock.advance(PATIENCE / 2)
            if transport.disconnecting:
                break
            transport.producer.resumeProducing()
        self.assertTrue(transport.disconnecting)
        self.channel.connectionLost(gone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_forgotten_when_its_reader_goes_away(self) -> None:
        self.ask("/v1/targets?match=http")
        self.channel.connectionLost(gone())
        self.settle()
        self.assertEqual(self.tables.count, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_bounded_per_address_and_in_all(self) -> None:
        for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
            self.ask("/v1/services?match=http", host=host)
        for host in ("10.0.0.1", "10.0.0.3"):
            for path in ("/v1/services", "/v1/services?match=http"):
                transport = self.ask(path, host=host)
                self.assertIn(b" 429 Too Many Requests\r\n", transport.value())
        self.assertIn(b"\r\n\r\n[]\n", self.ask("/v1/services?match=none", host="10.0.0.1").value())
        self.settle()
        self.assertEqual(self.tables.count, 0)

    def test_that_cannot_be_made_is_cut_off(self) -> None:
        def fail(found: Registration) -> Any:
            if found.id > "r2000":
                raise ValueError("beep")
            return {}

        self.registry.document = fail  # type: ignore[method-assign]
        transport = self.ask("/v1/services?match=http")
        self.settle()
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.tables.count, 0)


class PortListTests(TableCase):
    def test_are_what_the_table_of_ports_is(self) -> None:
        rows = [
            row(
                f"{number}",
                number % 7 + 1,
                role="ab"[number % 2],
                host=f"h{number % 3}",
                namespace="xyz"[number % 5 % 3],
            )
            for number in range(1203)
        ]
        for some in (rows, rows[:2], rows[:1], []):
            self.assertEqual(json.loads(b"".join(port_lists(some, RowFilter()))), port_table(some))
