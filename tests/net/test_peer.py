"""What a peer may cost: bytes, calls, silence, malformed boxes; and how errors reach the caller."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Busy, InternalError, NoAnswer, UnknownApp, Unreachable, UsageError
from deployd.model.invalid import Invalid
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import MAX_ANSWERING, MAX_BOX, MAX_CALLS, AnswerTooLong
from deployd.wire.command import declared
from tests.net.links import Ends, terms


class Ask(amp.Command):
    """Client to server, in these tests."""

    arguments = [(b"how", amp.Unicode()), (b"number", amp.Integer(optional=True))]
    response = [(b"text", amp.Unicode())]
    errors = declared(UnknownApp)


class Oracle(Conversation):
    """Answers Ask as it is asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Deferred] = []
        self.was_closed = False

    def closed(self) -> None:
        self.was_closed = True

    @responder(Ask)
    def ask(self, how: str, number: int | None = None) -> object:
        if how == "wait":
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if how == "await":
            return self.slowly()
        if how == "long":
            return {"text": "x" * 70_000}
        errors = {"app": UnknownApp("no app x"), "invalid": Invalid("bad text"), "bug": ZeroDivisionError("secret!")}
        if how in errors:
            raise errors[how]
        return {"text": how}

    async def slowly(self) -> dict[str, str]:
        raise UnknownApp("later")


class PeerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.oracle = Oracle()
        self.ends = Ends(terms(conversations={"deploy": lambda peer, session: self.oracle}))
        self.successResultOf(self.ends.greet())

    def ask(self, how: str, **more: object) -> Deferred:
        answer = self.ends.client.call(Ask, how=how, **more)
        self.ends.flush()
        return answer

    def test_answers_and_declared_errors_arrive(self) -> None:
        self.assertEqual(self.successResultOf(self.ask("x")), {"text": "x"})
        self.assertEqual(str(self.failureResultOf(self.ask("app"), UnknownApp).value), "no app x")
        self.assertEqual(str(self.failureResultOf(self.ask("await"), UnknownApp).value), "later")

    def test_bad_text_is_a_usage_error(self) -> None:
        self.assertEqual(str(self.failureResultOf(self.ask("invalid"), UsageError).value), "bad text")

    def test_a_bug_is_logged_and_answered_without_its_text_and_the_link_lives(self) -> None:
        error = self.failureResultOf(self.ask("bug"), InternalError)
        self.assertNotIn("secret!", str(error.value))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.successResultOf(self.ask("x"))

    def test_a_missing_argument_is_malformed_and_the_link_lives(self) -> None:
        answer = self.ends.client.callRemoteString(b"Ask", True)
        failed: list = []
        answer.addErrback(failed.append)
        self.ends.flush()
        self.assertEqual(failed[0].value.errorCode, b"Malformed")
        self.successResultOf(self.ask("x"))

    def test_no_answer_in_time_fails_and_the_late_answer_is_ignored(self) -> None:
        answer = self.ends.client.call(Ask, timeout=5, how="wait")
        self.ends.flush()
        self.ends.clock.advance(6)
        self.failureResultOf(answer, NoAnswer)
        self.oracle.waiting[0].callback({"text": "late"})
        self.ends.flush()
        self.successResultOf(self.ask("x"))

    def test_commands_at_once_are_bounded(self) -> None:
        answers = [self.ask("wait") for _ in range(MAX_ANSWERING)]
        self.failureResultOf(self.ask("x"), Busy)
        self.oracle.waiting[0].callback({"text": "done"})
        self.ends.flush()
        self.successResultOf(answers[0])
        self.successResultOf(self.ask("x"))

    def test_what_was_read_is_answered_only_as_far_as_the_peer_reads(self) -> None:
        """While answers wait for the peer, nothing more is read, and nothing answered of what was read already."""
        gate = self.ends.server.transport.producer
        gate.pauseProducing()
        self.assertTrue(self.ends.server.transport.paused)
        answers = [self.ask("x") for _ in range(10)]
        for answer in answers:
            self.assertNoResult(answer)
        gate.resumeProducing()
        self.ends.flush()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [{"text": "x"}] * 10)

    def test_calls_at_once_are_bounded(self) -> None:
        for _ in range(MAX_CALLS):
            self.ends.client.call(Ask, how="wait").addErrback(lambda _: None)
        self.failureResultOf(self.ends.client.call(Ask, how="x"), Busy)

    def test_a_lost_connection_fails_what_waits_and_tells_the_conversation(self) -> None:
        answer = self.ask("wait")
        gone = self.ends.client.when_closed()
        self.ends.server.drop("test")
        self.ends.flush()
        self.failureResultOf(answer, Unreachable)
        self.successResultOf(gone)
        self.successResultOf(self.ends.client.when_closed())
        self.assertTrue(self.oracle.was_closed)
        self.assertEqual(self.ends.factory.peers, set())

    def test_who_hears_of_a_lost_connection_first_finds_it_closed(self) -> None:
        seen: list[bool] = []
        self.ask("wait").addErrback(lambda _: seen.append(self.ends.client.is_closed))
        self.ends.server.drop("test")
        self.ends.flush()
        self.assertEqual(seen, [True])

    def test_who_waits_for_the_end_hears_of_it_whatever_the_conversation_does(self) -> None:
        def closed() -> None:
            raise ZeroDivisionError

        self.oracle.closed = closed  # type: ignore[method-assign]
        (server,) = self.ends.factory.peers
        gone = server.when_closed()
        with self.assertRaises(ZeroDivisionError):
            server.connectionLost()
        self.successResultOf(gone)

    def test_an_over_long_argument_fails_the_call_and_not_the_link(self) -> None:
        self.failureResultOf(self.ask("x" * 70_000), UsageError)
        self.successResultOf(self.ask("x"))

    def test_an_over_long_answer_fails_the_call_and_not_the_link(self) -> None:
        self.failureResultOf(self.ask("long"), InternalError)
        self.assertEqual(len(self.flushLoggedErrors(AnswerTooLong)), 1)
        self.successResultOf(self.ask("x"))


class KeepaliveTests(SynchronousTestCase):
    def test_a_quiet_link_is_kept_by_pings(self) -> None:
        ends = Ends()
        self.successResultOf(ends.greet())
        ends.advance(300)
        self.assertFalse(ends.client.is_closed)

    def test_either_end_gives_up_a_silent_peer_after_the_servers_timeout(self) -> None:
        ends = Ends(terms(heartbeat=1, timeout=3))
        self.successResultOf(ends.greet())
        for _ in range(2):
            ends.clock.advance(1)  # nothing is delivered: the cable is cut
        self.assertFalse(ends.client.transport.disconnecting or ends.server.transport.disconnecting)
        ends.clock.advance(1)
        self.assertTrue(ends.client.transport.disconnecting and ends.server.transport.disconnecting)

    def test_a_silent_peer_is_given_up_at_the_timeout_also_between_two_heartbeats(self) -> None:
        ends = Ends(terms(heartbeat=2, timeout=3))
        self.successResultOf(ends.greet())
        for second in (1.0, 2.0, 3.0):
            self.assertFalse(ends.server.transport.disconnecting)
            ends.clock.advance(second - ends.clock.seconds())
        self.assertTrue(ends.server.transport.disconnecting)

    def test_time_in_which_a_process_was_stopped_counts_against_nobody(self) -> None:
        """SIGSTOP and SIGCONT, or a laptop's lid: all timers are late, and nothing that the peer said was read."""
        ends = Ends(terms(heartbeat=2, timeout=4))
        self.successResultOf(ends.greet())
        ends.clock.advance(3600)
        self.assertFalse(ends.client.transport.disconnecting or ends.server.transport.disconnecting)
        for _ in range(4):
            ends.clock.advance(1)  # but who stays silent now is gone
        self.assertTrue(ends.client.transport.disconnecting and ends.server.transport.disconnecting)

    def test_nothing_is_left_on_the_clock_when_the_link_is_gone(self) -> None:
        ends = Ends()
        self.successResultOf(ends.greet())
        ends.server.drop("test")
        ends.flush()
        self.assertEqual(ends.clock.getDelayedCalls(), [])


class HostileBytesTests(SynchronousTestCase):
    """Bytes straight into a server that has seen no handshake, and into one that has."""

    def feed(self, data: bytes, greeted: bool) -> Ends:
        ends = Ends()
        if greeted:
            self.successResultOf(ends.greet())
        for start in range(0, len(data), 65_536):
            if not ends.server.transport.disconnecting:
                ends.server.dataReceived(data[start : start + 65_536])
        ends.flush()
        return ends

    def test_garbage_costs_the_connection_and_nothing_is_logged_as_an_error(self) -> None:
        for data in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\0\0",
            b"\0" * 1000,
            b"\xff" * 1_000_000,
            b"null\n",
            b'{"method":"methods","arguments":[null]}\n',
            amp.AmpBox({b"a": b"b"}).serialize(),
            amp.AmpBox({b"_answer": b"99"}).serialize(),
            amp.AmpBox({b"_error": b"99"}).serialize(),
        ):
            for greeted in (False, True):
                ends = self.feed(data, greeted)
                self.assertTrue(ends.client.is_closed, (data[:20], greeted))

    def test_a_box_that_never_ends_is_cut_off(self) -> None:
        value = b"\x00\x01k" + b"\xff\xff" + b"v" * 65_535
        for greeted in (False, True):
            ends = Ends()
            if greeted:
                self.successResultOf(ends.greet())
            sent = 0
            while not ends.server.transport.disconnecting:
                ends.server.dataReceived(value)
                sent += len(value)
                self.assertLess(sent, MAX_BOX + 2 * len(value))

    def test_an_unknown_command_is_answered_and_the_link_lives(self) -> None:
        ends = Ends()
        self.successResultOf(ends.greet())
        failed: list = []
        ends.client.callRemoteString(b"Nonsense", True).addErrback(failed.append)
        ends.flush()
        self.assertEqual(len(failed), 1)
        self.assertFalse(ends.client.is_closed)

    @given(st.binary(max_size=300), st.booleans())
    def test_no_bytes_raise_out_of_the_protocol(self, data: bytes, greeted: bool) -> None:
        self.feed(data, greeted)
        self.assertEqual(self.flushLoggedErrors(), [])
