"""Apps, targets and clients that fail, hang or lie: the right answer, no endless wait, every count back at 0."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, Rig, Wire, body, fields, status

POST = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
PUT = POST.replace(b"POST", b"PUT")


def used(rig: Rig, client: Wire) -> Wire:
    """A connection to an app that has carried a request."""
    client.say(GET)
    app = rig.accept()
    app.say(OK)
    client.heard()
    app.heard()
    return app


class RetryTests(SynchronousTestCase):
    def test_a_target_that_refuses_is_left_for_another_whatever_the_request(self) -> None:
        for request in (GET, POST):
            rig = Rig(targets=2)
            client = rig.client()
            client.say(request)
            (first,) = rig.connecting()
            rig.refuse()
            (second,) = rig.connecting()
            self.assertNotEqual(first, second)
            rig.accept().say(OK)
            self.assertEqual(status(client.heard()), 200)
            self.assertEqual(rig.lines[0].retries, 1)
            self.assertEqual(rig.in_flight(), 0)

    def test_an_app_that_closes_before_it_answers_is_left_for_another(self) -> None:
        for request in (GET, PUT):
            rig = Rig(targets=2)
            client = rig.client()
            client.say(request)
            first = rig.accept()
            asked = first.heard()
            first.reset()
            self.assertEqual(rig.connecting().__len__(), 1)
            second = rig.accept()
            self.assertEqual(second.heard(), asked)
            second.say(OK)
            self.assertEqual(status(client.heard()), 200)
            self.assertTrue(client.open)

    def test_what_may_not_be_done_twice_is_not_sent_twice(self) -> None:
        rig = Rig(targets=2)
        client = rig.client()
        client.say(POST)
        rig.accept().reset()
        self.assertEqual(status(client.heard()), 502)
        self.assertEqual(rig.connecting(), [])
        self.assertEqual(rig.in_flight(), 0)

    def test_a_large_body_is_not_kept_to_be_sent_again(self) -> None:
        rig = Rig(targets=2, replay=2)
        client = rig.client()
        client.say(PUT)
        rig.accept().reset()
        self.assertEqual(status(client.heard()), 502)

    def test_a_body_that_came_half_goes_on_at_the_other_target(self) -> None:
        rig = Rig(targets=2)
        client = rig.client()
        client.say(PUT[:-1])
        rig.accept().reset()
        second = rig.accept()
        self.assertEqual(body(second.heard()), b"ab")
        client.say(b"c")
        self.assertEqual(second.heard(), b"c")
        second.say(OK)
        self.assertEqual(status(client.heard()), 200)

    def test_a_stale_connection_is_replaced_by_a_fresh_one_to_the_same_target(self) -> None:
        rig = Rig(targets=1)
        client = rig.client()
        app = used(rig, client)
        client.say(GET)
        self.assertNotEqual(app.heard(), b"")
        app.end()
        rig.accept().say(OK)
        self.assertEqual(status(client.heard()), 200)
        (target,) = rig.table.rows.targets.values()
        self.assertEqual(target.failures, 0)

    def test_a_target_that_is_gone_gets_no_fresh_connection_for_a_stale_one(self) -> None:
        rig = Rig()
        client = rig.client()
        app = used(rig, client)
        client.say(GET)
        rig.rows(1, first=1)
        app.end()
        self.assertEqual(rig.connecting(), [5002])

    def test_an_idle_connection_that_the_app_closes_is_not_used(self) -> None:
        rig = Rig()
        client = rig.client()
        app = used(rig, client)
        app.end()
        client.say(POST)
        self.assertEqual(rig.connecting(), [5001])

    def test_an_idle_connection_is_used_for_a_post_only_if_it_was_used_just_now(self) -> None:
        rig = Rig(idle=60)
        client = rig.client()
        app = used(rig, client)
        client.say(POST)
        self.assertNotEqual(app.heard(), b"")
        app.say(OK)
        rig.wait(2)
        client.say(POST)
        self.assertEqual(app.heard(), b"")
        self.assertFalse(app.open)
        self.assertEqual(rig.connecting(), [5001])

    def test_an_idle_connection_is_closed_after_a_while(self) -> None:
        rig = Rig()
        app = used(rig, rig.client())
        rig.wait(5)
        self.assertFalse(app.open)

    def test_an_app_that_speaks_unasked_is_cut_off(self) -> None:
        rig = Rig()
        client = rig.client()
        app = used(rig, client)
        app.say(OK)
        self.assertFalse(app.open)
        client.say(GET)
        self.assertEqual(rig.connecting(), [5001])

    def test_bytes_after_an_answer_end_the_connection(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(OK + b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(body(client.heard()), b"hi")
        self.assertFalse(app.open)

    def test_there_are_at_most_three_tries(self) -> None:
        rig = Rig(targets=5)
        client = rig.client()
        client.say(GET)
        for _ in range(3):
            rig.accept().reset()
        self.assertEqual(status(client.heard()), 502)

    def test_an_app_that_is_restarted_on_its_port_fails_no_get(self) -> None:
        rig = Rig()
        client = rig.client()
        app = used(rig, client)
        client.say(GET)
        app.reset()
        rig.refuse()
        rig.wait(0.5)
        rig.refuse()
        rig.wait(0.5)
        rig.accept().say(OK)
        self.assertEqual(status(client.heard()), 200)
        self.assertEqual(rig.in_flight(), 0)

    def test_an_app_that_is_restarted_on_another_port_fails_no_get(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        rig.refuse()
        rig.rows(1, first=7)
        self.assertEqual(rig.connecting(), [5008])
        rig.accept().say(OK)
        self.assertEqual(status(client.heard()), 200)


class WaitingTests(SynchronousTestCase):
    def test_a_request_waits_for_a_target(self) -> None:
        rig = Rig(targets=0)
        client = rig.client()
        client.say(GET)
        rig.wait(3)
        rig.rows(1)
        rig.accept().say(OK)
        self.assertEqual(status(client.heard()), 200)

    def test_but_not_for_ever(self) -> None:
        rig = Rig(targets=0)
        client = rig.client()
        client.say(GET)
        rig.wait(4)
        self.assertEqual(client.heard(), b"")
        rig.wait(2)
        answer = client.heard()
        self.assertEqual((status(answer), fields(answer)[b"retry-after"]), (503, b"1"))
        self.assertTrue(client.open)

    def test_a_client_that_leaves_waits_no_more(self) -> None:
        rig = Rig(targets=0)
        client = rig.client()
        client.say(GET)
        client.reset()
        rig.rows(1)
        self.assertEqual(rig.connecting(), [])

    def test_a_client_that_leaves_while_connecting_leaves_a_connection_for_others(self) -> None:
        rig = Rig()
        client = rig.client()
        client.say(GET)
        client.reset()
        self.assertEqual(rig.in_flight(), 0)
        app = rig.accept()
        self.assertEqual(app.heard(), b"")
        other = rig.client()
        other.say(GET)
        app.say(OK)
        self.assertEqual(status(other.heard()), 200)


class DeadlineTests(SynchronousTestCase):
    def test_a_head_that_comes_drop_by_drop_is_given_up(self) -> None:
        rig = Rig()
        client = rig.client()
        for byte in GET[:20]:
            client.say(bytes([byte]))
            rig.wait(0.25)
        rig.wait(6)
        self.assertEqual(status(client.heard()), 408)
        self.assertFalse(client.open)

    def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        rig = Rig(idle=5)
        client = rig.client()
        rig.wait(6)
        self.assertEqual((client.heard(), client.open), (b"", False))

    def test_a_body_that_stops_coming_is_given_up(self) -> None:
        rig = Rig(body=5)
        client = rig.client()
        client.say(POST[:-1])
        app = rig.accept()
        rig.wait(6)
        self.assertEqual(status(client.heard()), 408)
        self.assertFalse(app.open)
        self.assertFalse(client.open)

    def test_a_body_that_goes_on_is_not(self) -> None:
        rig = Rig(body=2, answer=4)
        client = rig.client()
        client.say(POST[:-3])
        rig.accept()
        for byte in b"abc":
            rig.wait(1.5)
            client.say(bytes([byte]))
        rig.wait(3)
        self.assertEqual(client.heard(), b"")
        rig.wait(2)
        self.assertEqual(status(client.heard()), 504)

    def test_an_app_that_hangs_is_given_up(self) -> None:
        rig = Rig(answer=5)
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        rig.wait(6)
        answer = client.heard()
        self.assertEqual(status(answer), 504)
        self.assertFalse(app.open)
        self.assertEqual(rig.in_flight(), 0)
        self.assertNotIn(b"127.0.0.1", answer)
        self.assertNotIn(b"5001", answer)

    def test_an_app_that_hangs_within_its_answer_breaks_it_off(self) -> None:
        rig = Rig(progress=5)
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
        for _ in range(3):
            rig.wait(3)
            app.say(b"2")
        rig.wait(6)
        self.assertTrue(client.aborted)
        self.assertFalse(app.open)

    def test_a_client_that_takes_nothing_is_given_up(self) -> None:
        rig = Rig(stalled=5)
        client = rig.client()
        client.say(GET)
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
        client.fill()
        rig.wait(6)
        self.assertTrue(client.aborted)
        self.assertFalse(app.open)
        self.assertEqual(rig.in_flight(), 0)

    def test_an_app_that_takes_nothing_is_given_up(self) -> None:
        rig = Rig(stalled=5)
        client = rig.client()
        client.say(POST[:-1])
        app = rig.accept()
        app.fill()
        rig.wait(6)
        self.assertEqual(status(client.heard()), 504)
        self.assertFalse(app.open)

    def test_a_silent_tunnel_ends(self) -> None:
        rig = Rig(tunnel=10)
        client = rig.client()
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        app = rig.accept()
        app.say(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        rig.wait(9)
        client.say(b"x")
        rig.wait(9)
        self.assertTrue(client.open)
        rig.wait(2)
        self.assertFalse(client.open)
        self.assertFalse(app.open)

    def test_nothing_is_left_running_when_all_have_gone(self) -> None:
        rig = Rig()
        client = rig.client()
        used(rig, client)
        client.reset()
        rig.wait(10)
        self.assertEqual(rig.reactor.getDelayedCalls(), [])


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


class StormTests(SynchronousTestCase):
    @given(st.integers(0, 2**32))
    def test_after_any_storm_nothing_is_in_flight(self, seed: int) -> None:
        """Clients and apps do anything in any order; then they leave."""
        chance = random.Random(seed)
        rig = Rig(targets=3, body=3, answer=4, progress=4, stalled=3, head=3)
        clients: list[Wire] = []
        apps: list[Wire] = []
        requests = (GET, POST, PUT, POST[:-2], GET * 2, PUT[:20], b"GET / HTTP/9\r\n\r\n", TunnelUpgrade)
        answers = (OK, OK[:-1], OK[:10], OK + OK, b"garbage\r\n", Chunks, Chunks[:-5], Switched, b"x")
        for _ in range(40):
            clients = [wire for wire in clients if wire.open]
            apps = [wire for wire in apps if wire.open]
            act = chance.randrange(10)
            if act == 0 or not clients:
                clients.append(rig.client())
            elif act <= 2:
                chance.choice(clients).say(chance.choice(requests))
            elif act == 3 and rig.connecting():
                rig.refuse()
            elif act <= 5 and rig.connecting():
                apps.append(rig.accept())
            elif act <= 7 and apps:
                chance.choice(apps).say(chance.choice(answers))
            elif act == 8:
                wire = chance.choice(clients + apps)
                getattr(wire, chance.choice(("end", "reset", "fill", "drain") if wire.producer else ("reset",)))()
            else:
                rig.rows(chance.randrange(4), chance.randrange(3))
                rig.wait(chance.random())
        for wire in clients:
            if wire.open:
                wire.reset()
        while rig.connecting():
            rig.refuse()
        rig.wait(12)
        self.assertEqual(rig.in_flight(), 0)
        self.assertEqual((rig.factory.connections, rig.factory.requests), (0, 0))
        self.assertFalse(any(target.idle for target in rig.table.rows.targets.values()))


Chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
TunnelUpgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
Switched = b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
