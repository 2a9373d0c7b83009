"""The port table over HTTP, through real bytes."""

from __future__ import annotations

from twisted.internet.address import IPv4Address

from deployd.registry.service import Registry
from deployd.registry.site import IDLE, MAX_BODY, JsonSite
from deployd.registry.web import root
from deployd.storage.registry_memory import MemoryRegistryStore
from tests.registry.rows import COMMIT, OTHER, row
from tests.registry.web import WebCase, gone


class PortsTests(WebCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(row("b", 2), row("a", 1), row("c", 3, role="say"), row("d", 4, namespace=OTHER, release="v2"))

    def test_has_the_shape_of_the_walk_through(self) -> None:
        host = "127.0.0.1"
        self.assertEqual(
            self.get("/v1/ports"),
            (
                200,
                {
                    OTHER: {"http": [{"host": host, "port": 4}]},
                    COMMIT: {
                        "http": [{"host": host, "port": 1}, {"host": host, "port": 2}],
                        "say": [{"host": host, "port": 3}],
                    },
                },
            ),
        )

    def test_of_a_commit_or_the_beginning_of_one(self) -> None:
        for path in (f"/v1/ports/{OTHER}", f"/v1/ports/{OTHER[:4]}", f"/v1/ports/{OTHER[:7]}?app=webapp&release=v2"):
            self.assertEqual(list(self.get(path)[1]), [OTHER], path)

    def test_that_match_nothing_are_an_empty_object(self) -> None:
        for path in (f"/v1/ports/{'f' * 40}", "/v1/ports?role=none", f"/v1/ports/{OTHER}?release=v1", "/v1/ports/%00"):
            self.assertEqual(self.get(path), (200, {}), path)

    def test_may_be_asked_for_with_head(self) -> None:
        transport = self.ask("/v1/ports?role=http", "HEAD")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b" 200 ", head)
        self.assertEqual(body, b"")

    def test_several_requests_on_one_connection_are_answered_in_turn(self) -> None:
        channel, transport = self.connect()
        channel.dataReceived(b"GET /healthz HTTP/1.1\r\nHost: r\r\n\r\n" * 3)
        self.assertEqual(transport.value().count(b"200 OK"), 3)


class WaitTests(WebCase):
    def test_answers_at_once_when_there_is_a_match(self) -> None:
        self.put(row())
        self.assertEqual(self.get(f"/v1/ports/{COMMIT}?wait=10")[0], 200)
        self.assertEqual(self.waiting.count, 0)

    def test_answers_as_soon_as_there_is_a_match(self) -> None:
        transport = self.ask(f"/v1/ports/{COMMIT}?app=webapp&release=v1&role=say&wait=10")
        self.put(row("a"))
        self.put(row("a"), row("b", namespace=OTHER, role="say"), row("c", role="say", release="v2"))
        self.assertEqual(transport.value(), b"")
        self.put(row("d", 7, role="say"))
        self.assertEqual(self.answer(transport), (200, {COMMIT: {"say": [{"host": "127.0.0.1", "port": 7}]}}))
        self.assertEqual(self.waiting.count, 0)

    def test_is_woken_by_a_prefix_and_by_any(self) -> None:
        waiting = [self.ask(f"/v1/ports{path}?wait=10") for path in ("", f"/{COMMIT[:5]}")]
        self.put(row())
        self.assertEqual([self.answer(transport)[0] for transport in waiting], [200, 200])

    def test_ends_with_404_and_an_empty_object(self) -> None:
        transport = self.ask(f"/v1/ports/{COMMIT}?wait=60")
        self.clock.advance(59.9)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(0.1)
        self.assertEqual(self.answer(transport), (404, {}))

    def test_of_no_time_is_allowed(self) -> None:
        transport = self.ask(f"/v1/ports/{COMMIT}?wait=0")
        self.clock.advance(0)
        self.assertEqual(self.answer(transport), (404, {}))

    def test_of_anything_else_is_refused(self) -> None:
        for wait in ("61", "-1", "x", "1e3", "nan", "inf", "60.1", "0x1", "%201", "9" * 150):
            code, document = self.get(f"/v1/ports?wait={wait}")
            self.assertEqual((code, list(document)), (400, ["error"]), wait)
        self.assertEqual(self.waiting.count, 0)

    def test_is_dropped_when_the_client_goes_away(self) -> None:
        self.ask("/v1/ports?wait=10")
        self.assertEqual(self.waiting.count, 1)
        self.channel.connectionLost(gone())
        self.assertEqual(self.waiting.count, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_is_bounded_per_address_and_in_all(self) -> None:
        for _ in range(3):
            self.ask("/v1/ports?wait=10", host="10.0.0.1")
        code, document = self.answer(self.ask("/v1/ports?wait=10", host="10.0.0.1"))
        self.assertEqual(code, 429)
        self.assertIn("your address", document["error"])
        for _ in range(2):
            self.ask("/v1/ports?wait=10", host="10.0.0.2")
        self.assertEqual(self.answer(self.ask("/v1/ports?wait=10", host="10.0.0.2"))[0], 429)
        self.assertEqual(self.answer(self.ask("/v1/ports", host="10.0.0.1"))[0], 200)
        self.clock.advance(10)
        self.assertEqual(self.waiting.count, 0)
        self.ask("/v1/ports?wait=10", host="10.0.0.1")
        self.assertEqual(self.waiting.count, 1)

    def test_ends_with_the_registry(self) -> None:
        transport = self.ask("/v1/ports?wait=10")
        self.registry.startService()
        self.registry.stopService()
        self.assertEqual(self.answer(transport)[0], 404)


class ServicesTests(WebCase):
    def test_are_the_rows_of_a_role_whole(self) -> None:
        self.put(row("a", role="say", meta={"zone": "b"}, version="1.2.3"), row("b"), row("c", role="say"))
        code, rows = self.get("/v1/services?match=say")
        self.assertEqual((code, [found["id"] for found in rows]), (200, ["a", "c"]))
        for key in ("id", "namespace", "role", "version", "host", "port", "meta", "owner", "revision"):
            self.assertIn(key, rows[0])
        self.assertEqual([found["id"] for found in self.get("/v1/services?match=say@1.2.3")[1]], ["a"])
        self.assertEqual(self.get("/v1/services?match=say@1.2.4"), (200, []))
        self.assertEqual(self.get("/v1/services?match=none"), (200, []))

    def test_with_a_wrong_pattern_are_refused(self) -> None:
        for query in ("?match=@1.0.0", "?match=say@%5E%5E1", "?match=say%20hi", "?near=:v1", "?meta.=1", "?meta=1"):
            code, document = self.get(f"/v1/services{query}")
            self.assertEqual((code, list(document)), (400, ["error"]), query)

    def test_are_found_by_any_part_and_by_metadata(self) -> None:
        self.put(
            row("a", role="say", meta={"zone": "b", "weight": 3}, version="1.2.3"),
            row("b", namespace=OTHER, release="v2", meta={"zone": "b"}),
            row("c", app="other"),
        )
        for query, ids in (
            ("", "abc"),
            ("match=say@^1.2", "a"),
            ("match=say@2", ""),
            ("app=webapp", "ab"),
            ("app=webapp&release=v2", "b"),
            (f"namespace={COMMIT[:5]}", "ac"),
            ("meta.zone=b", "ab"),
            ("meta.zone=b&meta.weight=3", "a"),
            ("meta.zone=c", ""),
        ):
            self.assertEqual("".join(found["id"] for found in self.get(f"/v1/services?{query}")[1]), ids, query)

    def test_of_the_same_release_or_namespace_come_first(self) -> None:
        self.put(row("a"), row("b", namespace=OTHER, release="v2"), row("c"), row("d", namespace=OTHER, release="v2"))
        for query in ("near=webapp:v2", f"near={OTHER}", f"match=http&near={OTHER}"):
            found = self.get(f"/v1/services?{query}")[1]
            self.assertEqual("".join(one["id"] for one in found), "bdac", query)

    def test_may_be_waited_for(self) -> None:
        transport = self.ask("/v1/services?match=say&wait=10")
        self.put(row("a", role="say"))
        self.assertEqual([found["id"] for found in self.answer(transport)[1]], ["a"])
        transport = self.ask("/v1/services?match=none&wait=10")
        self.clock.advance(10)
        self.assertEqual(self.answer(transport), (404, []))

    def test_say_from_where_to_watch(self) -> None:
        self.put(row("a"))
        self.assertIn(b"X-Deployd-Revision: epoch.1\r\n", self.ask("/v1/services?match=http").value())


class BadRequestTests(WebCase):
    def test_wrong_parameters_get_one_sentence(self) -> None:
        for path in (
            "/v1/ports?relase=v1",
            "/v1/ports?role=a&role=b",
            "/v1/ports?role=%ff",
            f"/v1/ports?role={'x' * 300}",
            "/v1/services?match=a&x=1",
            "/v1/services?match=%ff",
            "/v1/services?bogus",
            "/healthz?x=1",
            "/metrics?x=1",
            "/v1/openapi.json?x=1",
            "/v1/ports?" + "&".join(f"x{number}=" for number in range(60)),
            "/v1/services?" + "&".join(f"meta.{number}=" for number in range(17)),
        ):
            code, document = self.get(path)
            self.assertEqual((code, list(document)), (400, ["error"]), path)
            self.assertNotIn("\n", document["error"])

    def test_other_paths_are_not_there(self) -> None:
        for path in ("/", "/v1", "/v2/ports", f"/v1/ports/{COMMIT}/x", "/%2e%2e/etc/passwd", "/..%2f", "/%ff"):
            code, document = self.get(path)
            self.assertEqual((code, list(document)), (404, ["error"]), path)

    def test_nothing_can_be_changed(self) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
            transport = self.ask("/v1/ports", method)
            self.assertEqual(self.answer(transport)[0], 405, method)
            self.assertIn(b"Allow: GET, HEAD", transport.value())

    def test_a_large_body_is_refused_before_it_is_read(self) -> None:
        transport = self.ask("/v1/ports", "POST", more=f"Content-Length: {MAX_BODY + 1}\r\n")
        self.assertEqual(self.answer(transport)[0], 413)
        self.assertTrue(transport.disconnecting)

    def test_a_body_without_end_is_cut_off(self) -> None:
        transport = self.ask("/v1/ports", "POST", more="Transfer-Encoding: chunked\r\n")
        for _ in range(100):
            self.channel.dataReceived(b"400\r\n" + b"x" * 1024 + b"\r\n")
        self.assertEqual(self.answer(transport)[0], 413)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)

    def test_a_line_without_end_is_refused(self) -> None:
        for more in (b"", b"GET / HTTP/1.1\r\nX-Long: "):
            channel, transport = self.connect()
            channel.dataReceived(more + b"x" * 20000)
            channel.dataReceived(b"x" * 20000)
            self.assertEqual(self.answer(transport)[0], 431)
            self.assertTrue(transport.disconnecting)

    def test_a_line_that_is_nearly_too_long_leaves_room_for_headers(self) -> None:
        transport = self.ask(f"/v1/ports?role={'x' * 16000}", more=f"Cookie: {'x' * 1000}\r\n")
        status, said = self.answer(transport)
        self.assertEqual((status, list(said)), (400, ["error"]))

    def test_a_small_form_is_not_looked_at(self) -> None:
        form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n"
        transport = self.ask("/v1/ports", "POST", more=form)
        self.channel.dataReceived(b"role=one")
        self.assertEqual(self.answer(transport)[0], 405)

    def test_garbage_costs_its_own_connection(self) -> None:
        for garbage in (b"\0" * 20000, b"x" * 20000, b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00" * 9, b"\r\n\r\n\r\n"):
            channel, transport = self.connect()
            channel.dataReceived(garbage)
            self.clock.advance(IDLE)
            self.assertTrue(transport.disconnecting, garbage[:9])
            channel.connectionLost(gone())
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_a_request_that_trickles_is_cut_off(self) -> None:
        channel, transport = self.connect()
        for byte in b"GET /healthz HTTP/1.1\r\nX-Slow: aaaaaaa":
            channel.dataReceived(bytes([byte]))
            self.clock.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_connections_are_bounded(self) -> None:
        channels = [self.connect(f"10.0.0.{number}")[0] for number in range(30)]
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))
        channels[0].connectionLost(gone())
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_connections_are_bounded_per_address(self) -> None:
        for _ in range(25):
            self.connect("10.0.0.1")
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))
        self.assertEqual(self.get("/healthz")[0], 200)

    def test_any_page_in_a_browser_may_read_a_public_table(self) -> None:
        self.assertIn(b"Access-Control-Allow-Origin: *\r\n", self.ask("/healthz").value())
        self.site.is_public = False
        self.assertNotIn(b"Access-Control", self.ask("/healthz").value())

    def test_health_says_why_nothing_can_be_written(self) -> None:
        class Troubled(Registry):
            trouble = "the disk is full"

        registry = Troubled(self.clock, MemoryRegistryStore(self.table))
        self.site = JsonSite(root(registry, self.clock), self.clock)
        code, document = self.get("/healthz")
        self.assertEqual((code, document["ok"], document["error"]), (503, False, "the disk is full"))

    def test_health_names_the_revision(self) -> None:
        self.put(row())
        self.assertEqual(self.get("/healthz"), (200, {"ok": True, "epoch": "epoch", "revision": 1}))
