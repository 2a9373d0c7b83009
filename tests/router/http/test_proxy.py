"""Requests on their way to an app and back."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.route import Setting, Share
from tests.router.http.rig import GET, OK, Rig, body, fields, status

POST = b"POST /up HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST /up HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"


class ProxyTests(SynchronousTestCase):
    def test_a_request_reaches_the_app_and_its_answer_the_client(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        self.assertEqual(rig.connecting(), [5001])
        app = rig.accept()
        asked = app.heard()
        self.assertTrue(asked.startswith(b"GET /some/path?a=1 HTTP/1.1\r\nHost: shop.example\r\n"), asked)
        self.assertTrue(asked.endswith(b"\r\n\r\n"))
        self.assertEqual(asked.count(b"\r\n\r\n"), 1)
        self.assertEqual(rig.in_flight(), 1)
        app.say(OK)
        answer = client.heard()
        self.assertEqual((status(answer), body(answer)), (200, b"hi"))
        self.assertEqual(fields(answer)[b"via"], b"1.1 deployd")
        self.assertEqual(rig.in_flight(), 0)
        self.assertTrue(client.open)

    def test_connections_are_kept_on_both_sides(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(OK)
        client.heard()
        app.heard()
        client.say(GET)
        self.assertEqual(rig.connecting(), [])
        self.assertTrue(app.heard().startswith(b"GET /some/path"))
        app.say(OK)
        self.assertEqual(body(client.heard()), b"hi")

    def test_pipelined_requests_are_answered_in_order_one_at_a_time(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3)))
        app = rig.accept()
        for n in range(3):
            asked = app.heard()
            self.assertTrue(asked.startswith(b"GET /%d " % n), asked)
            app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)
            self.assertEqual(body(client.heard()), b"%d" % n)
        self.assertTrue(client.open)

    def test_what_follows_a_request_under_way_is_not_read_without_bound(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        client.say(GET * 100)
        self.assertFalse(client.reading)
        for _ in range(101):
            app.say(OK)
        self.assertTrue(client.reading)
        self.assertEqual(client.heard().count(b"200 OK"), 101)

    def test_hop_by_hop_fields_and_what_connection_names_are_dropped(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n"
            b"Proxy-Connection: x\r\nAccept: text/html\r\nX-Kept: yes\r\n\r\n"
        )
        app = rig.accept()
        asked = fields(app.heard())
        self.assertNotIn(b"x-secret", asked)
        self.assertNotIn(b"keep-alive", asked)
        self.assertNotIn(b"proxy-connection", asked)
        self.assertNotIn(b"connection", asked)
        self.assertEqual((asked[b"accept"], asked[b"x-kept"]), (b"text/html", b"yes"))
        app.say(
            b"HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: 3\r\nServer: app\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        told = fields(client.heard())
        self.assertNotIn(b"x-own", told)
        self.assertNotIn(b"keep-alive", told)
        self.assertEqual(told[b"server"], b"app")

    def test_the_app_is_told_who_asks_and_a_strangers_claims_are_dropped(self) -> None:
        rig = Rig()
        client = rig.client("192.0.2.7")
        client.say(
            b"GET / HTTP/1.1\r\nHost: a:81\r\nX-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\n"
            b"Forwarded: for=10.0.0.1\r\nX-Request-Id: mine\r\nVia: x\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Ssl: on-10.0.0.1\r\nX-Forwarded_Prefix: /10.0.0.1\r\nX_FORWARDED_SCHEME: 10.0.0.1\r\n"
            b"Proxy: http://10.0.0.1\r\n\r\n"
        )
        app = rig.accept()
        asked = app.heard()
        found = fields(asked)
        self.assertNotIn(b"10.0.0.1", asked)
        self.assertEqual(found[b"x-forwarded-for"], b"192.0.2.7")
        self.assertEqual(found[b"x-forwarded-proto"], b"http")
        self.assertEqual(found[b"x-forwarded-host"], b"a:81")
        self.assertEqual(found[b"forwarded"], b'for=192.0.2.7;proto=http;host="a:81"')
        self.assertEqual(found[b"via"], b"1.1 deployd")
        self.assertRegex(found[b"x-request-id"], rb"^[0-9a-f]{32}$")
        app.say(OK)
        self.assertEqual(fields(client.heard())[b"x-request-id"], found[b"x-request-id"])

    def test_a_trusted_proxy_is_believed(self) -> None:
        rig = Rig(trusted=(ip_network("10.0.0.0/8"),))
        client = rig.client("10.1.2.3")
        client.say(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\n"
            b"X-Request-Id: mine-1\r\nVia: 1.1 front\r\nX-Forwarded-Prefix: /shop\r\nX_Forwarded_Prefix: /\r\n"
            b"X-Real-IP: 198.51.100.1\r\n\r\n"
        )
        found = fields(rig.accept().heard())
        self.assertEqual(found[b"x-forwarded-for"], b"198.51.100.1, 10.1.2.3")
        self.assertEqual(found[b"x-forwarded-proto"], b"https")
        self.assertEqual(found[b"x-request-id"], b"mine-1")
        self.assertEqual(found[b"via"], b"1.1 front, 1.1 deployd")
        self.assertEqual(found[b"x-forwarded-prefix"], b"/shop")
        self.assertEqual(found[b"x-real-ip"], b"198.51.100.1")
        self.assertNotIn(b"x_forwarded_prefix", found)

    def test_a_body_with_a_length_is_streamed(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST + b"01234")
        app = rig.accept()
        asked = app.heard()
        self.assertEqual((fields(asked)[b"content-length"], body(asked)), (b"10", b"01234"))
        client.say(b"56789" + GET)
        self.assertEqual(app.heard(), b"56789")
        app.say(OK)
        self.assertEqual(body(client.heard()), b"hi")
        self.assertTrue(app.heard().startswith(b"GET /some/path"))

    def test_chunks_are_made_anew_without_extensions_and_with_trailers(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(CHUNKED + b"5;evil=1\r\n01234\r\n")
        app = rig.accept()
        asked = app.heard()
        self.assertEqual((fields(asked)[b"transfer-encoding"], body(asked)), (b"chunked", b"5\r\n01234\r\n"))
        client.say(b"00A\r\n0123")
        client.say(b"456789\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n")
        self.assertEqual(app.heard(), b"4\r\n0123\r\n6\r\n456789\r\n0\r\nX-Sum: 1\r\n\r\n")
        app.say(OK)
        self.assertTrue(client.open)

    def test_answers_in_chunks_keep_their_trailers(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        answer = client.heard()
        self.assertEqual((fields(answer)[b"transfer-encoding"], body(answer)), (b"chunked", b"3\r\nabc\r\n"))
        app.say(b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertEqual(client.heard(), b"0\r\nX-Sum: 1\r\n\r\n")
        self.assertTrue(client.open)
        self.assertTrue(app.open)

    def test_an_answer_that_ends_with_its_connection_is_put_in_chunks(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.0 200 OK\r\n\r\nabc")
        self.assertEqual(body(client.heard()), b"3\r\nabc\r\n")
        app.end()
        self.assertEqual(client.heard(), b"0\r\n\r\n")
        self.assertTrue(client.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_an_old_client_gets_such_an_answer_as_it_is_and_a_closed_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        answer = client.heard()
        self.assertNotIn(b"transfer-encoding", fields(answer))
        self.assertEqual((fields(answer)[b"connection"], body(answer)), (b"close", b"abc"))
        app.say(b"0\r\n\r\n")
        self.assertFalse(client.open)
        self.assertFalse(client.aborted)

    def test_an_old_client_may_keep_its_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        app = rig.accept()
        app.say(OK)
        self.assertEqual(fields(client.heard())[b"connection"], b"keep-alive")
        self.assertTrue(client.open)
        client.say(b"GET / HTTP/1.0\r\n\r\n")
        app.say(OK)
        self.assertFalse(client.open)

    def test_answers_without_a_body_have_none_whatever_they_say(self) -> None:
        rig = Rig()
        client = rig.client()
        for method, head in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ):
            client.say(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
            if rig.connecting():
                app = rig.accept()
            app.say(head)
            answer = client.heard()
            self.assertEqual(body(answer), b"")
            self.assertEqual(fields(answer).get(b"content-length"), None if b"204" in head else b"100")
        self.assertTrue(app.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_expect_continue_is_the_apps_to_answer(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length"))
        app = rig.accept()
        self.assertEqual(fields(app.heard())[b"expect"], b"100-continue")
        app.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(client.heard(), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.say(b"0123456789")
        self.assertEqual(app.heard(), b"0123456789")
        app.say(OK)
        self.assertTrue(client.open)

    def test_an_app_that_refuses_the_body_ends_the_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(POST.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length"))
        app = rig.accept()
        app.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        answer = client.heard()
        self.assertEqual((status(answer), fields(answer)[b"connection"]), (403, b"close"))
        self.assertFalse(client.open)
        self.assertFalse(app.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_early_hints_are_passed_on_but_not_to_old_clients(self) -> None:
        rig = Rig()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
        for version, expected in ((b"1.1", hints), (b"1.0", b"")):
            client = rig.client()
            client.say(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
            app = rig.accept()
            app.say(hints)
            self.assertEqual(client.heard(), expected)
            app.say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            self.assertEqual(status(client.heard()), 200)

    def test_a_sticky_clients_cookie_is_set(self) -> None:
        rig = Rig(setting=Setting("webapp", "http", (Share("v1", 1), Share("v2", 1)), sticky=True))
        rig.factory.random = lambda: 0.0
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(OK)
        self.assertIn(b"v1", fields(client.heard())[b"set-cookie"])

    def test_who_names_no_host_is_not_redirected_to_a_path(self) -> None:
        rig = Rig(setting=Setting("webapp", "http", (Share("v1", 1),), https=True))
        client = rig.client()
        client.say(b"GET /evil.example/ HTTP/1.0\r\n\r\n")
        self.assertEqual(status(client.heard()), 400)

    def test_a_route_that_wants_https_redirects(self) -> None:
        setting = Setting("webapp", "http", (Share("v1", 1),), https=True)
        rig = Rig(setting=setting, https_port=8443)
        client = rig.client()
        client.say(b"GET /a?b=c HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
        answer = client.heard()
        self.assertEqual((status(answer), fields(answer)[b"location"]), (308, b"https://shop.example:8443/a?b=c"))
        self.assertTrue(client.open)
        secure = Rig(setting=setting, secure=True)
        secure.client().say(GET)
        self.assertEqual(secure.connecting(), [5001])

    def test_who_came_over_tls_to_a_trusted_proxy_is_not_redirected(self) -> None:
        setting = Setting("webapp", "http", (Share("v1", 1),), https=True)
        rig = Rig(setting=setting, trusted=(ip_network("10.0.0.0/8"),))
        asked = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: %b\r\n\r\n"
        for address, said, expected in (
            ("10.1.2.3", b"https", 0),
            ("10.1.2.3", b"HTTPS, http", 0),
            ("10.1.2.3", b"http", 308),
            ("192.0.2.7", b"https", 308),
        ):
            client = rig.client(address)
            client.say(asked % said)
            self.assertEqual(status(client.heard() or b"HTTP/1.1 0 "), expected, (address, said))

    def test_an_absolute_target_is_made_a_path(self) -> None:
        rig = Rig()
        rig.client().say(b"GET http://shop.example/x?y HTTP/1.1\r\nHost: shop.example\r\n\r\n")
        self.assertTrue(rig.accept().heard().startswith(b"GET /x?y HTTP/1.1\r\nHost: shop.example\r\n"))

    def test_options_of_everything_is_answered_here(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(status(client.heard()), 200)
        self.assertEqual(rig.connecting(), [])

    def test_an_access_line_is_told(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        rig.accept().say(OK)
        (line,) = rig.lines
        self.assertEqual(
            (line.client, line.host, line.method, line.path, line.status, line.bytes, line.release, line.instance),
            ("192.0.2.7", "shop.example", "GET", "/some/path?a=1", 200, 2, "v1", "i0"),
        )

    def test_an_access_line_has_only_so_much_of_a_long_target(self) -> None:
        rig = Rig()
        rig.client().say(GET.replace(b"/some", b"/" + b"a" * 16000))
        rig.accept().say(OK)
        self.assertEqual(len(rig.lines[0].path), 2048)
