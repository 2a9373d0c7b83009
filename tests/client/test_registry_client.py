"""A program's client of the registry, over iosim; two registries where there are two."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from deployd.client import RegistryClient, RowEvent, RowStream
from deployd.client.questions import MAX_QUESTIONS
from deployd.client.registry import MAX_STREAMS
from deployd.errors import Busy, DeploydError, NoAnswer, Refused, UsageError
from deployd.model.registration import Registration
from deployd.net.choices import Choice, Choices
from deployd.net.identity import Identity
from deployd.registry.filter import RowFilter
from tests.client.network import SECRET, TIMEOUT, Network
from tests.registry.rows import row


class ClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.a, self.b = Network(clock=self.clock), Network(clock=self.clock, epochs="other")
        for network in (self.a, self.b):
            # Whichever is there in the end.
            self.addCleanup(lambda network=network: network.registry.stopService())
        self.heard: list[str] = []
        self.failures: list[DeploydError] = []

    def client(self, **options: Any) -> RegistryClient:
        choices = Choices([Choice(self.a, "a:6000"), Choice(self.b, "b:6000")])
        plain: dict[str, Any] = {
            "secret": SECRET,
            "endpoint": lambda reactor, text, port: (choices, text),
            "connected": lambda address: self.heard.append(f"connected {address}"),
            "disconnected": lambda: self.heard.append("disconnected"),
            "failed": self.failures.append,
        }
        client = RegistryClient(self.clock, "a:6000,b:6000", **(plain | options))
        self.addCleanup(self.flush)
        self.addCleanup(client.stopService)
        return client

    def started(self, **options: Any) -> RegistryClient:
        client = self.client(**options)
        client.startService()
        self.flush()
        return client

    def flush(self) -> None:
        for _ in range(3):
            self.a.flush()
            self.b.flush()

    def advance(self, seconds: float) -> None:
        passed = 0.0
        while passed < seconds:
            self.clock.advance(0.5)
            self.flush()
            passed += 0.5

    def done(self, deferred: Deferred[Any]) -> Any:
        self.flush()
        return self.successResultOf(deferred)

    def failed(self, deferred: Deferred[Any], *kinds: type[Exception]) -> str:
        self.flush()
        return str(self.failureResultOf(deferred, *kinds).value)

    def table(self, network: Network) -> dict[str, int]:
        return {row.id: row.port for row in network.registry.rows(RowFilter())}


class RegisterTests(ClientCase):
    def test_a_row_is_given_as_the_registry_has_it(self) -> None:
        client = self.started(name="web-host")
        row = self.done(client.register("web@1.2.3", 8080, meta={"zone": "a", "weights": [1, 2]}))
        (there,) = self.a.registry.rows(RowFilter())
        self.assertEqual(row, there)
        self.assertEqual((row.namespace, row.role, row.version, row.port), ("default", "web", "1.2.3", 8080))
        self.assertEqual((row.host, row.drone), ("127.0.0.1", "web-host"))

    def test_what_is_asked_before_it_is_started_waits(self) -> None:
        client = self.client()
        row, found = client.register("web", 8080), client.get("web")
        self.flush()
        self.assertNoResult(row)
        client.startService()
        self.assertEqual(self.done(row).port, 8080)
        self.advance(1)
        self.assertEqual(len(self.done(found)), 1)

    def test_port_and_metadata_may_change(self) -> None:
        client = self.started()
        row = self.done(client.register("web@1.2.3", 8080, meta={"zone": "a"}))
        changed = self.done(client.update(row.id, meta={"zone": "b"}))
        self.assertEqual((changed.id, changed.port, changed.meta), (row.id, 8080, {"zone": "b"}))
        self.assertEqual(self.done(client.update(row.id, port=8081)).meta, {"zone": "b"})
        self.assertEqual(self.table(self.a), {row.id: 8081})

    def test_what_is_not_ours_cannot_be_changed(self) -> None:
        client = self.started()
        self.assertIn("there is no row x", self.failed(client.update("x", port=1), UsageError))
        row = self.done(client.register("web", 8080))
        self.done(client.free(row.id))
        self.failed(client.update(row.id, port=1), UsageError)
        self.done(client.free("never-was"))

    def test_what_cannot_be_is_refused_at_once(self) -> None:
        client = self.started()
        for service, port in (("a b", 80), ("web@1 2", 80), ("", 80), ("web", 0)):
            self.failed(client.register(service, port), UsageError)
        self.assertEqual(self.table(self.a), {})

    def test_ids_are_generated_and_differ(self) -> None:
        client = self.started()
        first, second = self.done(client.register("web", 1)), self.done(client.register("web", 1))
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(self.done(client.register("web", 1, id="web-one", namespace="prod")).id, "web-one")

    def test_a_row_that_is_not_registered_in_time_is_not_registered_later(self) -> None:
        self.a.up = self.b.up = False
        client = self.started()
        row = client.register("web", 8080, timeout=5)
        self.advance(5)
        self.assertIn("web is not registered: no answer within 5 s", self.failed(row, NoAnswer))
        cancelled = client.register("web", 8081)
        cancelled.cancel()
        self.failed(cancelled, CancelledError)
        self.a.up = True
        self.advance(10)
        self.assertEqual(self.table(self.a), {})

    def test_a_change_that_takes_too_long_may_be_made_later(self) -> None:
        client = self.started()
        row = self.done(client.register("web", 8080))
        self.a.up = self.b.up = False
        self.a.cut()
        changing = client.update(row.id, port=8081, timeout=2)
        self.advance(3)
        self.failed(changing, NoAnswer)
        self.a.up = True
        self.advance(10)
        self.assertEqual(self.table(self.a), {row.id: 8081})

    def test_where_the_secret_is_wrong_the_deadline_says_so(self) -> None:
        client = self.started(secret="another")
        row = client.register("web", 8080, timeout=5)
        self.advance(5)
        self.assertIn("(none of 2 addresses will do: a:6000: the secret is wrong", self.failed(row, NoAnswer))

    def test_a_key_that_nobody_knows_reads_and_does_not_write(self) -> None:
        client = self.started(secret=None, identity=Identity.create())
        self.assertEqual(self.done(client.query()), [])
        row = client.register("web", 8080, timeout=5)
        self.advance(5)
        self.assertIn("a:6000: ", self.failed(row, NoAnswer))

    def test_a_registry_without_a_secret_takes_rows_from_anybody(self) -> None:
        self.a.secret = None
        self.a.restart()
        client = self.started(secret=None)
        self.assertEqual(self.done(client.register("web", 8080)).port, 8080)

    def test_rows_go_along_to_the_next_registry(self) -> None:
        client = self.started()
        row = self.done(client.register("web", 8080))
        self.a.up = False
        self.a.cut()
        self.advance(6)
        self.assertEqual(self.table(self.b), {row.id: 8080})
        self.assertEqual(client.address, "b:6000")
        self.assertEqual([one.id for one in self.done(client.query("web"))], [row.id])
        self.a.up = True
        self.advance(TIMEOUT + 1)
        self.assertEqual((self.table(self.a), client.address), ({}, "b:6000"))

    def test_streams_go_along_with_the_rows(self) -> None:
        """A client whose rows alone have lost their link would else not see what it has registered."""
        client = self.started()
        stream = client.watch("web")
        self.addCleanup(stream.close)
        waiting = stream.next()
        mine = self.done(client.register("db", 5432))
        self.assertEqual(self.done(waiting).type, "reset")
        waiting = stream.next()
        self.flush()
        self.a.up = False
        # The stream's own link and that for questions live on.
        self.a.registry.attach(mine.owner, "another-life", b"", "", "10.0.0.1", lambda: None)
        self.advance(6)
        self.assertEqual(self.done(waiting).type, "reset")
        waiting = stream.next()
        there = self.done(client.register("web", 8080))
        self.assertEqual((self.done(waiting).row, len(self.table(self.b))), (there, 2))


class EndTests(ClientCase):
    def test_an_orderly_stop_frees_the_rows(self) -> None:
        client = self.started()
        self.done(client.register("web", 8080))
        self.done(client.stopService())
        self.assertEqual(self.table(self.a), {})
        self.advance(1)
        self.assertEqual((self.a.pumps, self.heard), ([], ["connected a:6000", "disconnected"]))

    def test_rows_that_are_kept_wait_for_the_next_life(self) -> None:
        identity = Identity.create()
        client = self.started(identity=identity, on_stop="keep")
        self.done(client.register("web", 8080, id="web-1"))
        before = self.a.registry.revision
        self.done(client.stopService())
        self.assertEqual(self.table(self.a), {"web-1": 8080})
        again = self.client(identity=identity, on_stop="keep")
        row = again.register("web", 8080, id="web-1")
        again.startService()
        self.done(row)
        self.assertEqual(self.a.registry.revision, before)
        self.done(again.leave())
        self.assertEqual(self.table(self.a), {})

    def test_whoever_waits_is_told_of_the_end(self) -> None:
        client = self.started()
        self.a.up = self.b.up = False
        self.a.cut()
        waiting: list[Deferred[Any]] = [client.register("web", 1), client.get("web"), client.query()]
        stream = client.watch()
        event = stream.next()
        self.done(client.stopService())
        for each in waiting:
            self.failed(each, CancelledError)
        self.assertIsNone(self.done(event))
        self.assertRaises(Refused, client.watch)
        self.failed(client.register("web", 1), Refused)
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_one_who_trips_over_what_is_told_loses_nothing(self) -> None:
        client = self.started(connected=lambda address: {}["nothing"])
        self.done(client.register("web", 8080))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_its_options_are_checked(self) -> None:
        for wrong in (
            {"on_stop": "perhaps"},
            {"name": "a b"},
            {"host": "a b"},
            {"secret": ""},
            {"identity": "/"},
            {"registry_keys": ["x"]},
        ):
            self.assertRaises(UsageError, RegistryClient, MemoryReactorClock(), "a:1", **wrong)
        for addresses in ("", "a:1,", "tls:"):
            self.assertRaises(UsageError, RegistryClient, MemoryReactorClock(), addresses)


class QueryTests(ClientCase):
    def test_rows_are_found_by_range_and_metadata(self) -> None:
        client = self.started()
        for version in ("1.2.3", "1.9.0", "2.0.0"):
            self.done(client.register(f"web@{version}", 80, id=f"web-{version}", meta={"v": version}))
        self.assertEqual([row.version for row in self.done(client.query("web@^1.2"))], ["1.2.3", "1.9.0"])
        self.assertEqual([row.id for row in self.done(client.query(meta={"v": "2.0.0"}))], ["web-2.0.0"])
        self.assertEqual(self.done(client.query("say")), [])
        self.assertIn("range", self.failed(client.query("web@^^"), UsageError))

    def test_those_nearby_come_first(self) -> None:
        client = self.started()
        for namespace in ("a", "b"):
            self.done(client.register("web", 80, namespace=namespace, id=f"web-{namespace}"))
        self.assertEqual([row.id for row in self.done(client.query("web", near="b"))], ["web-b", "web-a"])

    def test_get_waits_for_a_match_over_lost_links_and_other_registries(self) -> None:
        reader, writer = self.started(secret=None), self.started()
        found = reader.get("web@^1", wait=100)
        self.advance(30)
        self.a.cut()
        self.advance(5)
        self.a.up = False
        self.a.cut()
        self.advance(6)
        self.assertNoResult(found)
        self.done(writer.register("web@0.9.0", 1))
        self.done(writer.register("web@1.5.0", 2))
        self.advance(1)
        self.assertEqual([row.port for row in self.done(found)], [2])
        self.assertEqual(reader.address, "b:6000")

    def test_get_ends_at_its_deadline(self) -> None:
        client = self.started()
        found = client.get("web", wait=40)
        self.advance(39)
        self.assertNoResult(found)
        self.advance(1)
        self.assertIn("there is no web: no answer within 40 s", self.failed(found, NoAnswer))

    def test_a_registry_that_is_away_is_said_when_the_time_is_over(self) -> None:
        self.a.up = self.b.up = False
        client = self.started()
        asked = client.query("web", timeout=3)
        self.advance(3)
        said = self.failed(asked, NoAnswer)
        self.assertIn("no registry at a:6000,b:6000 has answered: no answer within 3 s (none of 2 addresses", said)
        self.assertIn("none of 2 addresses will do: cannot reach a:6000", str(self.failures[0]))

    def test_questions_are_bounded(self) -> None:
        client = self.started()
        waiting = [client.get("web") for _ in range(MAX_QUESTIONS)]
        self.failed(client.query(), Busy)
        waiting[0].cancel()
        self.failed(waiting[0], CancelledError)
        self.done(client.query())
        for each in waiting[1:]:
            each.addErrback(lambda _: None).cancel()


class StreamTests(ClientCase):
    def setUp(self) -> None:
        super().setUp()
        self.writer = self.started()
        self.reader = self.started(secret=None)

    def events(self, stream: RowStream, count: int) -> list[RowEvent]:
        return [event for event in (self.done(stream.next()) for _ in range(count)) if event is not None]

    def shown(self, events: list[RowEvent]) -> list[tuple[str, str]]:
        return [(event.type, event.row.id if event.row else "") for event in events]

    def put(self, *names: str) -> None:
        for name in names:
            self.done(self.writer.register(name.partition("-")[0], 80, id=name))

    def test_it_begins_with_a_reset_and_goes_on_with_each_change(self) -> None:
        self.put("web-1", "say-1")
        stream = self.reader.watch("web")
        self.assertEqual(self.shown(self.events(stream, 2)), [("reset", ""), ("put", "web-1")])
        waiting = stream.next()
        self.put("say-2", "web-2")
        self.assertEqual(self.shown([self.done(waiting)]), [("put", "web-2")])
        self.done(self.writer.free("web-1"))
        (event,) = self.events(stream, 1)
        self.assertEqual((event.type, event.more), ("delete", False))
        assert event.row is not None
        self.assertEqual((event.row.id, event.row.port), ("web-1", 80))

    def test_whoever_comes_back_with_a_position_goes_on_there(self) -> None:
        self.put("web-1")
        stream = self.reader.watch()
        self.events(stream, 2)
        self.put(*(f"web-{number}" for number in range(2, 9)))
        waiting = self.events(stream, 7)
        self.done(stream.close())
        for event in waiting:
            again = self.reader.watch(since=event.position)
            rest = self.events(again, 8 - int(event.row.id[4:])) if event.row else []
            self.assertEqual(rest, waiting[waiting.index(event) + 1 :])
            self.done(again.close())

    def test_it_may_begin_now_and_come_back_to_there(self) -> None:
        self.put("web-1")
        stream = self.reader.watch(since="now")
        waiting = stream.next()
        self.advance(1)
        self.a.up = False
        self.a.cut()
        seat = self.a.registry.attach("other", "d1", b"", "", "10.0.0.1", lambda: None)
        self.a.registry.publish(seat, [row(name, namespace="dev") for name in ("web-2", "web-3")])
        self.a.up = True
        self.advance(1)
        events = [self.done(waiting), *self.events(stream, 1)]
        self.assertEqual(self.shown([event for event in events if event]), [("put", "web-2"), ("put", "web-3")])
        assert events[0] is not None
        again = self.reader.watch(since=events[0].position)
        self.assertEqual(self.shown(self.events(again, 1)), [("put", "web-3")])

    def test_it_goes_on_over_lost_links_without_a_gap_or_a_repeat(self) -> None:
        stream = self.reader.watch("web")
        self.events(stream, 1)
        for number in range(5):
            self.a.cut()
            self.advance(1)
            self.put(f"web-{number}")
            self.assertEqual(self.shown(self.events(stream, 1)), [("put", f"web-{number}")])

    def test_another_registry_is_a_reset(self) -> None:
        self.put("web-1")
        stream = self.reader.watch("web")
        self.events(stream, 2)
        self.a.up = False
        self.a.cut()
        self.advance(6)
        first, second = self.events(stream, 2)
        self.assertEqual((first.type, second.type), ("reset", "put"))
        self.assertNotEqual(first.position.partition(".")[0], second.position.partition(".")[0])

    def test_the_rows_of_a_large_reset_come_and_can_be_taken_up_again(self) -> None:
        for number in range(600):
            self.writer.register("web", 1 + number, id=f"web-{number}")
        self.flush()
        stream = self.reader.watch("web")
        seen: dict[str, Registration] = {}
        for count in range(601):
            event = self.done(stream.next())
            if event.row is not None:
                seen[event.row.id] = event.row
            if count % 50 == 49:
                self.done(stream.close())
                stream = self.reader.watch("web", since=event.position)
        self.advance(1)
        while len(seen) < 600:
            event = self.done(stream.next())
            seen |= {event.row.id: event.row} if event.row else {}
        self.assertEqual({name: row.port for name, row in seen.items()}, self.table(self.a))

    def test_the_table_can_be_kept_from_events_whatever_happens_in_between(self) -> None:
        """Links are cut, the registry is killed, and the program too, which keeps its table and the position."""
        self.b.up, chance = False, random.Random(11)
        stream, told = self.reader.watch(), Told()
        waiting: Deferred[RowEvent | None] | None = None
        for _ in range(1500):
            what = chance.random()
            name = f"web-{chance.randrange(30)}"
            if what < 0.25:
                self.writer.register("web", chance.randint(1, 9), id=name).addErrback(lambda _: None)
            elif what < 0.35:
                self.writer.free(name).addErrback(lambda _: None)
            elif what < 0.38:
                self.a.cut()
            elif what < 0.385:
                self.a.reopen()
            elif what < 0.41:
                # The program is killed. What it was waiting for it never sees.
                stream.close()
                stream, waiting = self.reader.watch(since=told.position), None
            elif what < 0.5:
                self.advance(0.5)
            else:
                for pump in list(self.a.pumps):
                    pump.pump()
                self.clock.advance(0.01)
            waiting = waiting or stream.next()
            if waiting.called:
                told.take(self.successResultOf(waiting))
                waiting = None
        self.advance(6)
        while waiting is None or waiting.called:
            if waiting is not None:
                told.take(self.successResultOf(waiting))
            waiting = stream.next()
            self.advance(1)
        self.assertEqual({name: one.port for name, one in told.rows.items()}, self.table(self.a))
        self.assertLess(told.resets, 10)

    def test_one_at_a_time_may_wait_and_may_give_up(self) -> None:
        stream = self.reader.watch("web")
        self.events(stream, 1)
        waiting = stream.next()
        self.failed(stream.next(), Refused)
        waiting.cancel()
        self.failed(waiting, CancelledError)
        again = stream.next()
        self.advance(1)
        self.put("web-1")
        self.assertEqual(self.shown([self.done(again)]), [("put", "web-1")])

    def test_a_wrong_pattern_fails_where_it_is_read(self) -> None:
        stream = self.reader.watch("web@^^")
        cancelled = stream.next()
        cancelled.cancel()
        self.failed(cancelled, CancelledError)
        for _ in range(2):
            self.assertIn("range", self.failed(stream.next(), UsageError))

    def test_closing_ends_the_iteration(self) -> None:
        stream = self.reader.watch("web")
        taken: list[RowEvent] = []
        ended = stream.each(taken.append)
        self.flush()
        self.put("web-1")
        self.flush()
        self.done(stream.close())
        self.done(ended)
        self.assertEqual(self.shown(taken), [("reset", ""), ("put", "web-1")])
        self.assertIsNone(self.done(stream.next()))

    def test_what_trips_over_an_event_ends_the_iteration(self) -> None:
        stream = self.reader.watch("web")
        self.failed(stream.each(lambda event: {}["nothing"]), KeyError)

    def test_streams_are_bounded(self) -> None:
        streams = [self.reader.watch() for _ in range(MAX_STREAMS)]
        self.assertRaises(Busy, self.reader.watch)
        self.done(streams[0].close())
        self.reader.watch()


class Told:
    """What a program makes of the events; it checks that each says something new."""

    def __init__(self) -> None:
        self.rows: dict[str, Registration] = {}
        self.revision = -1
        self.position = ""
        self.resets = 0

    def take(self, event: RowEvent | None) -> None:
        assert event is not None
        if event.type == "reset":
            self.rows, self.resets = {}, self.resets + 1
        else:
            assert event.row is not None
            assert event.revision > self.revision
            if event.type == "put":
                self.rows[event.row.id] = event.row
            else:
                assert self.rows.pop(event.row.id).port == event.row.port
        self.revision, self.position = event.revision, event.position


class NearTests(SynchronousTestCase):
    def test_an_app_is_near_to_its_own_release(self) -> None:
        from deployd.client import own_release

        self.assertEqual(own_release({"REPO": "webapp", "RELEASE": "v3", "COMMIT": "c" * 40}), "webapp:v3")
        self.assertEqual(own_release({"COMMIT": "c" * 40}), "c" * 40)
        self.assertEqual(own_release({}), "")
