"""Targets that refuse, close or are being restarted: another one gets the request, or it waits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, POST, PUT, Rig, body, fields, status, used


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

    def test_nor_do_more_wait_than_may(self) -> None:
        rig = Rig(targets=0, waiters=1)
        first, second = rig.client(), rig.client()
        first.say(GET)
        second.say(GET)
        self.assertEqual(status(second.heard()), 503)
        rig.rows(1)
        rig.accept().say(OK)
        self.assertEqual(status(first.heard()), 200)

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
