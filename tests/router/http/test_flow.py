"""Who is slow slows the other side; tunnels; and the end of a router."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, Rig, body, fields, status

POST = b"POST /up HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\n"


class BackPressureTests(SynchronousTestCase):
    def test_a_slow_client_slows_the_app(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        client.fill()
        self.assertFalse(app.reading)
        client.drain()
        self.assertTrue(app.reading)

    def test_the_next_answer_waits_until_the_client_has_taken_the_last(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        client.fill()
        app.say(OK)
        app.heard()
        client.say(GET)
        self.assertEqual(app.heard(), b"")
        client.drain()
        self.assertNotEqual(app.heard(), b"")
        app.say(OK)
        self.assertTrue(client.reading)
        self.assertEqual(client.heard().count(b"200 OK"), 2)

    def test_a_client_that_does_not_take_the_last_answer_is_given_up(self) -> None:
        rig = Rig(stalled=5)
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        client.fill()
        app.say(OK)
        rig.wait(6)
        self.assertTrue(client.aborted)

    def test_a_slow_app_slows_the_client(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST)
        app = rig.accept()
        app.fill()
        self.assertFalse(client.reading)
        client.say(b"01234")
        self.assertNotIn(b"01234", app.heard())
        app.drain()
        self.assertEqual(app.heard(), b"01234")
        self.assertTrue(client.reading)

    def test_a_body_is_not_read_before_the_app_is_there(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST)
        client.say(b"01234")
        self.assertFalse(client.reading)
        self.assertTrue(rig.accept().heard().endswith(b"01234"))
        self.assertTrue(client.reading)


class TunnelTests(SynchronousTestCase):
    UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

    def test_bytes_go_both_ways_after_an_upgrade(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(self.UPGRADE)
        app = rig.accept()
        asked = fields(app.heard())
        self.assertEqual((asked[b"connection"], asked[b"upgrade"]), (b"Upgrade", b"websocket"))
        client.say(b"early")
        app.say(self.SWITCHED + b"hello")
        answer = client.heard()
        self.assertEqual((status(answer), fields(answer)[b"upgrade"], body(answer)), (101, b"websocket", b"hello"))
        self.assertEqual(app.heard(), b"early")
        client.say(b"\x00\r\n\r\n")
        self.assertEqual(app.heard(), b"\x00\r\n\r\n")
        self.assertEqual(rig.in_flight(), 1)
        client.end()
        self.assertTrue(app.half_closed)
        app.say(b"last words")
        self.assertEqual(client.heard(), b"last words")
        app.end()
        self.assertFalse(client.open)
        self.assertFalse(app.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_a_lost_side_ends_the_other(self) -> None:
        for lost in ("client", "app"):
            rig = Rig()
            client = rig.client()
            client.say(self.UPGRADE)
            app = rig.accept()
            app.say(self.SWITCHED)
            (client if lost == "client" else app).reset()
            self.assertFalse(client.open)
            self.assertFalse(app.open)
            self.assertEqual(rig.in_flight(), 0)
            self.assertEqual(rig.factory.connections, 0)

    def test_http_2_in_the_clear_is_not_passed_on(self) -> None:
        rig = Rig()
        rig.client().say(self.UPGRADE.replace(b"websocket", b"h2c"))
        self.assertNotIn(b"upgrade", fields(rig.accept().heard()))

    def test_nobody_is_switched_who_did_not_ask(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        rig.accept().say(self.SWITCHED)
        self.assertEqual(status(client.heard()), 502)


class StoppingTests(SynchronousTestCase):
    def test_each_connection_has_one_more_answer_and_is_closed(self) -> None:
        rig = Rig()
        idle, busy, quiet = rig.client(), rig.client(), rig.client()
        busy.say(GET)
        app = rig.accept()
        rig.factory.finish()
        app.say(OK)
        self.assertEqual(fields(busy.heard())[b"connection"], b"close")
        self.assertFalse(busy.open)
        idle.say(GET)
        app.say(OK)
        self.assertEqual(fields(idle.heard())[b"connection"], b"close")
        self.assertTrue(quiet.open)
        rig.wait(1.5)
        self.assertFalse(quiet.open)
        self.assertEqual(rig.factory.connections, 0)

    def test_a_client_that_was_told_its_connection_stands_may_ask_once_more(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(OK[:-1])
        rig.factory.finish()
        app.say(OK[-1:])
        self.assertTrue(client.open)
        client.say(GET)
        app.say(OK)
        self.assertEqual(client.heard().count(b"Connection: close"), 1)
        self.assertFalse(client.open)

    def test_there_are_at_most_so_many_connections(self) -> None:
        rig = Rig(max_connections=2)
        for _ in range(2):
            rig.client().say(GET)
        self.assertIsNone(rig.factory.buildProtocol(None))
        self.assertEqual((rig.factory.connections, rig.factory.requests), (2, 2))

    def test_who_only_holds_connections_keeps_nobody_out(self) -> None:
        rig = Rig(max_connections=3)
        busy, idle, slow = rig.client(), rig.client(), rig.client()
        busy.say(GET)
        slow.say(GET[:10])
        for other in (idle, slow):
            rig.client().say(GET)
            self.assertTrue(other.aborted)
        rig.reactor.advance(0)
        self.assertIsNone(rig.factory.buildProtocol(None))
        self.assertEqual((rig.factory.connections, rig.factory.requests), (3, 3))
        rig.accept().say(OK)
        self.assertEqual(status(busy.heard()), 200)

    def test_a_target_that_is_gone_keeps_no_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(OK)
        self.assertTrue(app.open)
        rig.rows(1, first=1)
        self.assertFalse(app.open)
        client.say(GET)
        self.assertEqual(rig.connecting(), [5002])
        last = rig.accept()
        rig.rows(1, first=2)
        self.assertTrue(last.open)
        last.say(OK)
        self.assertFalse(last.open)
        self.assertEqual(client.heard().count(b"200 OK"), 2)
