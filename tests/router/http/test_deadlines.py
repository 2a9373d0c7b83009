"""Every phase of a request ends in time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, POST, Rig, status, used


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

    def test_a_fault_at_a_deadline_ends_the_connection(self) -> None:
        rig = Rig(targets=0)
        client, other = rig.client(), rig.client()
        client.say(GET)
        decide, rig.table.decide = rig.table.decide, lambda *_: 1 / 0  # type: ignore[assignment, return-value]
        rig.wait(0.5)
        rig.table.decide = decide  # type: ignore[method-assign]
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(client.aborted)
        self.assertEqual((rig.factory.connections, rig.factory.requests), (1, 0))
        rig.rows(1)
        other.say(GET)
        rig.accept().say(OK)
        self.assertEqual(status(other.heard()), 200)

    def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        rig = Rig(idle=5)
        client = rig.client()
        rig.wait(6)
        self.assertEqual((client.heard(), client.open), (b"", False))

    def test_an_empty_line_between_requests_is_no_beginning(self) -> None:
        rig = Rig()
        client = rig.client()
        used(rig, client)
        client.say(b"\r\n")
        client.say(b"\r\n" + GET)
        self.assertEqual(rig.in_flight(), 1)
        other = rig.client()
        other.say(b"\r\n")
        rig.wait(15)
        self.assertEqual((other.heard(), other.open), (b"", False))

    def test_a_body_that_stops_coming_is_given_up(self) -> None:
        rig = Rig(body=5)
        client = rig.client()
        client.say(POST[:-1])
        app = rig.accept()
        rig.wait(6)
        self.assertEqual(status(client.heard()), 408)
        self.assertFalse(app.open)
        self.assertFalse(client.open)

    def test_an_app_that_answers_before_a_body_that_stops_is_not_to_blame(self) -> None:
        rig = Rig(body=5)
        client = rig.client()
        client.say(POST[:-1])
        app = rig.accept()
        app.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        rig.wait(6)
        self.assertTrue(client.aborted)
        self.assertFalse(app.open)
        self.assertEqual([target.failures for target in rig.table.rows.targets.values()], [0])
        self.assertEqual(rig.in_flight(), 0)

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
