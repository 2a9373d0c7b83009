"""Apps that answer garbage or break off, and clients that leave or lie."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, POST, Rig, body, fields, status


class BadAnswerTests(SynchronousTestCase):
    def test_an_app_that_speaks_no_http_is_a_bad_gateway(self) -> None:
        for answer in (
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
            b"HTTP/1.1 99 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000,
            b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n",
            b"HTTP/1.1 103 Early\r\n\r\n" * 40,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnochunk\r\n",
        ):
            rig = Rig()
            client = rig.client()
            client.say(GET)
            app = rig.accept()
            app.say(answer)
            self.assertEqual(status(client.heard().rpartition(b"HTTP/1.1 103")[2].partition(b"\r\n\r\n")[2] or b"")
                             if answer.count(b"103") else status(client.heard()), 502, answer[:60])  # fmt: skip
            self.assertFalse(app.open)
            self.assertTrue(client.open)
            self.assertEqual(rig.in_flight(), 0)

    def test_an_answer_that_breaks_off_does_not_look_whole(self) -> None:
        for head in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ):
            for how in ("end", "reset"):
                rig = Rig()
                client = rig.client()
                client.say(GET)
                app = rig.accept()
                app.say(head)
                getattr(app, how)()
                self.assertTrue(client.aborted)
                self.assertFalse(client.heard().endswith(b"0\r\n\r\n"))
                self.assertEqual(rig.in_flight(), 0)

    def test_half_a_head_is_a_bad_gateway(self) -> None:
        rig = Rig(targets=2)
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 O")
        app.end()
        self.assertEqual(status(client.heard()), 502)

    def test_bad_chunks_within_an_answer_break_it_off(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        app.say(b"zz\r\n")
        self.assertTrue(client.aborted)
        self.assertFalse(app.open)


class BadClientTests(SynchronousTestCase):
    def test_bad_chunks_are_told_to_the_client_and_end_the_apps_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        app = rig.accept()
        client.say(b"-1\r\n")
        self.assertEqual(status(client.heard()), 400)
        self.assertFalse(app.open)
        self.assertFalse(client.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_a_client_that_leaves_takes_its_request_along(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        client.reset()
        self.assertFalse(app.open)
        self.assertEqual(rig.in_flight(), 0)
        self.assertEqual(rig.lines[0].status, 0)

    def test_a_client_that_has_said_all_still_gets_its_answer(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        client.end()
        rig.accept().say(OK)
        self.assertEqual(status(client.heard()), 200)
        self.assertFalse(client.open)

    def test_a_client_that_ends_within_its_body_is_gone(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST[:-1])
        app = rig.accept()
        client.end()
        self.assertFalse(app.open)
        self.assertFalse(client.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_what_is_no_request_gets_a_sentence_and_nothing_else(self) -> None:
        for request, expected in (
            (b"GET /\r\n\r\n", 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
            (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000, 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100 + b"\r\n", 431),
            (b"GET / HTTP/1.1\nHost: a\n\n", 400),
            (b"\x16\x03\x01\x00\n", 400),
        ):
            rig = Rig()
            client = rig.client()
            client.say(request)
            answer = client.heard()
            self.assertEqual(status(answer), expected, answer)
            self.assertIn(fields(answer)[b"x-request-id"], body(answer))
            self.assertFalse(client.open)
            self.assertEqual(rig.connecting(), [])


class OwnFaultTests(SynchronousTestCase):
    def test_an_error_of_the_routers_own_is_logged_and_answered(self) -> None:
        rig = Rig()

        class Broken:
            def decide(self, *_: object) -> None:
                raise ZeroDivisionError("a secret")

        client = rig.client()
        rig.factory.table = Broken()
        client.say(GET)
        answer = client.heard()
        self.assertEqual(status(answer), 500)
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(client.open)
