"""The table's changes as server-sent events."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.registry.event_lines import EventStream, Renderings
from deployd.registry.events import HEARTBEAT
from deployd.registry.filter import RowFilter
from deployd.registry.history import MAX_LOOKED, History
from deployd.registry.outflow import PATIENCE
from deployd.registry.position import Position
from deployd.registry.watching import Watchers
from tests.registry.rows import OTHER, empty_book, row, rows_of
from tests.registry.web import Transport, WebCase, gone


@frozen
class Event:
    """``position`` is the last that was said before the event or with it."""

    position: str
    kind: str
    line: Any


def events(body: bytes) -> list[Event]:
    """What an EventSource makes of it."""
    found, position = [], ""
    for block in body.decode().split("\n\n"):
        fields = dict(text.split(": ", 1) for text in block.split("\n") if text and not text.startswith(":"))
        position = fields.get("id", position)
        if "data" in fields:
            found.append(Event(position, fields["event"], json.loads(fields["data"])))
    return found


def brief(found: list[Event]) -> list[tuple[str, str]]:
    return [(one.kind, one.line["row"]["id"] if one.line["row"] else "") for one in found]


class WatchCase(WebCase):
    def setUp(self) -> None:
        super().setUp()
        self.registry.startService()
        self.addCleanup(self.registry.stopService)

    def watch(self, query: str = "", more: str = "", host: str = "10.0.0.9") -> Transport:
        transport = self.ask(f"/v1/watch{query}", more=more, host=host)
        self.settle()
        return transport

    def settle(self) -> None:
        self.clock.pump([0] * 10)

    def body(self, transport: Transport) -> bytes:
        """What came in chunks so far."""
        head, _, rest = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Transfer-Encoding: chunked", head)
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body

    def events(self, transport: Transport) -> list[Event]:
        return events(self.body(transport))


class WatchTests(WatchCase):
    def test_begins_with_the_table_and_goes_on_with_its_changes(self) -> None:
        self.put(row("a"), row("b"))
        transport = self.watch()
        self.put(row("b"), row("c"))
        found = self.events(transport)
        told = [("reset", ""), ("put", "a"), ("put", "b"), ("delete", "a"), ("put", "c")]
        self.assertEqual(brief(found), told)
        self.assertEqual([one.line.get("more", False) for one in found], [True, True, False, True, False])
        self.assertEqual([one.position for one in found[-3:]], ["epoch.2", "epoch.3", "epoch.4"])
        self.assertIn(b"Content-Type: text/event-stream\r\n", transport.value())
        self.assertRegex(self.body(transport), rb"^retry: [0-9]+\n\n")

    def test_goes_on_from_wherever_it_broke_off(self) -> None:
        self.put(row("a"), row("b"))
        whole = self.events(self.watch())
        self.channel.connectionLost(gone())
        self.put(row("b"), row("c"))
        told = []
        for one in whole:
            told.append(brief(self.events(self.watch(more=f"Last-Event-ID: {one.position}\r\n"))))
            self.channel.connectionLost(gone())
        rest = [("delete", "a"), ("put", "c")]
        self.assertEqual(told, [[("put", "b"), *rest], [("put", "b"), *rest], rest])

    def test_goes_on_from_a_revision(self) -> None:
        self.put(row("a"), row("b"))
        for number, since in enumerate(("1", "epoch.1")):
            self.assertEqual(brief(self.events(self.watch(f"?since={since}", host=f"10.0.0.{number}"))), [("put", "b")])

    def test_begins_now(self) -> None:
        self.put(row("a"))
        transport = self.watch("?since=now")
        self.put(row("a"), row("b"))
        found = self.events(transport)
        self.assertEqual((brief(found), found[0].position), ([("put", "b")], "epoch.2"))

    def test_says_no_place_behind_a_line_that_it_holds_back(self) -> None:
        """Whoever went on from there would miss it."""
        transport = self.watch("?since=now&match=say")
        self.put(row("a", role="say"), *[row(f"r{number}") for number in range(MAX_LOOKED)])
        said = [self.body(transport)]
        while not self.events(transport):
            self.clock.advance(0)
            said.append(self.body(transport))
        self.assertEqual([body for body in said[:-1] if b"id:" in body], [])
        found = self.events(transport)
        self.assertEqual((brief(found), found[0].position), ([("put", "a")], f"epoch.{MAX_LOOKED + 1}"))
        self.assertNotIn("more", found[0].line)

    def test_starts_anew_from_what_is_not_known_here(self) -> None:
        self.put(row("a"))
        asked = ("?since=other.1", "?since=epoch.99", "")
        mores = ("", "", "Last-Event-ID: what a browser has kept of another server\r\n")
        for number, (query, more) in enumerate(zip(asked, mores, strict=True)):
            found = self.events(self.watch(query, more, f"10.0.0.{number}"))
            self.assertEqual(brief(found), [("reset", ""), ("put", "a")])
            self.assertEqual(found[0].line["epoch"], "epoch")

    def test_goes_on_over_a_restart_of_the_registry(self) -> None:
        self.put(row("a"), row("b"))
        before = self.events(self.watch())
        self.registry.stopService()
        self.begin()
        self.registry.startService()
        self.addCleanup(self.registry.stopService)
        self.put(row("b"))
        told = self.events(self.watch(f"?since={before[-1].position}"))
        self.assertEqual((brief(told), told[0].position), ([("delete", "a")], "epoch.3"))

    def test_is_over_when_there_are_too_many_of_other_kinds(self) -> None:
        self.registry.stopService()
        self.begin(Watchers(self.clock, limit=0))
        self.registry.startService()
        self.addCleanup(self.registry.stopService)
        self.put(row("a"))
        transport = self.watch()
        self.assertEqual(brief(self.events(transport)), [("reset", ""), ("put", "a")])
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_from_nonsense_is_refused(self) -> None:
        for query in ("?since=x", "?since=-1", "?since=epoch.1-x2", "?match=@1", "?near=a:v1", "?wait=1"):
            self.assertEqual(self.get(f"/v1/watch{query}")[0], 400, query)

    def test_shows_only_what_is_wanted(self) -> None:
        self.put(row("a", role="say"), row("b"))
        watching = [
            self.watch(query, host=f"10.0.0.{number}")
            for number, query in enumerate(("?match=say", "?app=webapp&release=v2", f"?namespace={OTHER[:7]}"))
        ]
        self.put(row("a", role="say"), row("c", namespace=OTHER, release="v2"))
        told = [brief(self.events(transport)) for transport in watching]
        self.assertEqual(told[0], [("reset", ""), ("put", "a")])
        self.assertEqual(told[1:], [[("reset", ""), ("put", "c")]] * 2)

    def test_gives_signs_of_life_that_keep_the_position_fresh(self) -> None:
        self.put(row("a"))
        transport = self.watch("?match=say&since=1")
        self.put(row("b"))
        self.assertEqual(self.events(transport), [])
        self.clock.advance(HEARTBEAT)
        self.assertTrue(self.body(transport).endswith(b":\nid: epoch.3\n\n"))
        self.assertEqual(self.events(transport), [])

    def test_has_a_head_only_for_those_who_ask_for_it(self) -> None:
        transport = self.ask("/v1/watch", "HEAD")
        self.assertTrue(transport.value().endswith(b"\r\n\r\n"))
        self.assertEqual(self.streams.count, 0)

    def test_is_bounded_per_address_and_in_all(self) -> None:
        for _ in range(2):
            self.watch(host="10.0.0.1")
        refused = self.ask("/v1/watch", host="10.0.0.1")
        self.assertEqual(self.answer(refused)[0], 429)
        self.assertIn(b"Retry-After: 1\r\n", refused.value())
        self.watch(host="10.0.0.2")
        self.assertEqual(self.answer(self.ask("/v1/watch", host="10.0.0.3"))[0], 429)
        self.channel.connectionLost(gone())

    def test_is_over_when_its_client_goes_away(self) -> None:
        self.watch()
        self.assertEqual(self.streams.count, 1)
        self.channel.connectionLost(gone())
        self.assertEqual(self.streams.count, 0)
        self.put(row())
        self.registry.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ends_in_an_orderly_way_with_the_registry(self) -> None:
        transport = self.watch()
        self.registry.stopService()
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(self.streams.count, 0)

    def test_writes_no_faster_than_it_is_read(self) -> None:
        self.put(*(row(f"r{number}", meta={"text": "x" * 1000}) for number in range(300)))
        transport = self.watch()
        transport.producer.pauseProducing()
        self.settle()
        held = len(transport.value())
        self.settle()
        self.assertEqual(len(transport.value()), held)
        while len(self.events(transport)) < 301:
            self.clock.advance(PATIENCE - 1)
            transport.producer.resumeProducing()
            transport.producer.pauseProducing()
            self.clock.advance(0)
        self.assertFalse(transport.disconnecting)

    def test_of_somebody_who_never_reads_is_cut_off(self) -> None:
        self.put(*(row(f"r{number}", meta={"text": "x" * 1000}) for number in range(300)))
        transport = self.watch()
        transport.producer.pauseProducing()
        self.clock.advance(PATIENCE)
        self.assertTrue(transport.disconnecting)
        self.channel.connectionLost(gone())
        self.assertEqual(self.streams.count, 0)


class PlaceTests(WebCase):
    """Note [Exactly where it broke off]."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=6), st.data())
    def test_who_goes_on_from_any_event_misses_nothing_and_sees_nothing_twice(
        self, publications: list[set[str]], data: st.DataObject
    ) -> None:
        self.table = empty_book()
        seat = self.table.attach("alice", "alice", "h", True, 0.0)
        history = History(self.table.table, self.table.revision, page_bytes=data.draw(st.sampled_from((1, 700, 9000))))
        wanted = RowFilter(role=data.draw(st.sampled_from(("", "even"))))
        stream = EventStream(Renderings(), None)
        told: list[Event] = []
        position = ""
        for number, ids in enumerate(publications):
            rows = [row(one, meta={"n": number}, role="even" if ord(one) % 2 else "odd") for one in sorted(ids)]
            history.add(self.table.publish(seat, rows).changes)
            for _ in range(data.draw(st.integers(0, 3))):
                page = history.after(stream.position, wanted)
                found = events(stream.after(page))
                cut = data.draw(st.integers(0, len(found)))
                told += found[:cut]
                position = told[-1].position if told else ""
                if cut < len(found):
                    # The connection breaks; whoever comes back says the last event that it has.
                    stream = EventStream(Renderings(), Position.parse(position))
        while True:
            page = history.after(stream.position, wanted)
            told += events(stream.after(page))
            if page.whole and not page.lines:
                break
        self.assertEqual([one.kind for one in told].count("reset"), 1)
        numbers = [one.line["revision"] for one in told]
        self.assertEqual(sorted(set(numbers)), numbers)
        self.assertNotIn("more", told[-1].line)
        known: dict[str, int] = {}
        for one in told[1:]:
            if one.kind == "put":
                known[one.line["row"]["id"]] = one.line["revision"]
            else:
                known.pop(one.line["row"]["id"], None)
        self.assertEqual(known, {one.id: one.revision for one in rows_of(self.table, wanted)})
