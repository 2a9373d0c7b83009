"""DNS in bytes: questions as they come from the network, and what is no question."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.registry.dns import IDLE, Datagrams, Stream, Streams
from deployd.registry.dns_messages import MAX_DATAGRAM, MAX_MESSAGE, MAX_QUESTION, reply
from deployd.registry.dns_zone import MAX_RECORDS, Table, Zone
from tests.registry.rows import row

NAME = b"http.webapp.deployd"


def zone(*rows: Registration) -> Zone:
    table = Table(lambda wanted: (one for one in rows if wanted.takes(one)), lambda _: False, lambda: 7)
    return Zone(table, lambda rows: None)


def many(count: int, host: str = "10.0.{}.{}") -> list[Registration]:
    return [row(f"r{n:04}", port=n + 1, host=host.format(n >> 8, n & 255)) for n in range(count)]


def option(size: int, version: int = 0) -> dns.RRHeader:
    return dns.RRHeader(b"", 41, size, version << 16, dns.UnknownRecord(b""))


def question(name: bytes = NAME, kind: int = dns.A, *additional: dns.RRHeader, **changes: Any) -> bytes:
    message = dns.Message(**({"id": 4321, "recDes": 1} | changes))
    message.addQuery(name, kind, dns.IN)
    message.additional = list(additional)
    return message.toStr()


def read(data: bytes | None) -> dns.Message:
    assert data is not None
    message = dns.Message()
    message.fromStr(data)
    # What was read is all there is: nothing was cut in the middle.
    assert len(message.toStr()) <= len(data) + 300
    header = struct.unpack_from("!HBBHHHH", data)
    assert [len(message.queries), len(message.answers), len(message.authority), len(message.additional)] == [
        *header[3:]
    ]
    return message


class ReplyTests(SynchronousTestCase):
    def ask(self, *words: Any, rows: list[Registration] | None = None, is_stream: bool = False) -> dns.Message:
        return read(reply(zone(*(rows or many(1))), question(*words), is_stream))

    def test_a_question_is_answered_with_authority_and_without_recursion(self) -> None:
        answer = self.ask(b"hTTp.webapp.DEPLOYD")
        self.assertEqual((answer.id, answer.answer, answer.auth, answer.recDes, answer.recAv), (4321, 1, 1, 1, 0))
        # Resolvers that mix capitals in compare the question.
        self.assertEqual([query.name.name for query in answer.queries], [b"hTTp.webapp.DEPLOYD"])
        self.assertEqual([record.payload.dottedQuad() for record in answer.answers], ["10.0.0.0"])
        self.assertEqual(answer.additional, [])

    def test_no_name_no_records_and_no_business_of_ours_are_told_apart(self) -> None:
        for name, kind, code, authorities in (
            (b"http.nobody.deployd", dns.A, dns.ENAME, 1),
            (NAME, dns.TXT, dns.OK, 1),
            (b"example.com", dns.A, dns.EREFUSED, 0),
            (b"", dns.NS, dns.EREFUSED, 0),
        ):
            answer = self.ask(name, kind)
            self.assertEqual((answer.rCode, len(answer.authority), answer.answers), (code, authorities, []))
            self.assertEqual(answer.auth, code != dns.EREFUSED)

    def test_other_classes_are_refused(self) -> None:
        message = dns.Message(1)
        message.addQuery(NAME, dns.A, dns.CH)
        self.assertEqual(read(reply(zone(*many(1)), message.toStr(), False)).rCode, dns.EREFUSED)

    def test_what_is_too_long_for_a_datagram_comes_over_tcp(self) -> None:
        rows = many(MAX_RECORDS)
        for additional in ([], [option(512)], [option(100)], [option(MAX_DATAGRAM)], [option(65535)]):
            data = reply(zone(*rows), question(NAME, dns.A, *additional), False)
            answer = read(data)
            self.assertEqual((answer.trunc, answer.answers), (1, []))
            self.assertEqual([record.cls for record in answer.additional], [MAX_DATAGRAM] * len(additional))
        answer = self.ask(rows=rows, is_stream=True)
        self.assertEqual((answer.trunc, len(answer.answers)), (0, MAX_RECORDS))

    def test_who_takes_longer_datagrams_gets_them(self) -> None:
        rows = many(60)
        self.assertEqual(self.ask(NAME, dns.A, option(4096), rows=rows).trunc, 0)
        self.assertEqual(self.ask(NAME, dns.A, rows=rows).trunc, 1)

    def test_addresses_of_targets_are_left_away_before_the_targets(self) -> None:
        answer = self.ask(NAME, dns.SRV, rows=many(8))
        self.assertEqual((answer.trunc, len(answer.answers), answer.additional), (0, 8, []))
        answer = self.ask(NAME, dns.SRV, option(4096), rows=many(8))
        self.assertEqual((answer.trunc, len(answer.answers), len(answer.additional)), (0, 8, 8 + 1))

    def test_the_longest_answers_have_no_pointer_that_overflows(self) -> None:
        host = ".".join(["a" * 60] * 4)
        rows = [row(f"r{n:03}", port=n + 1, host=host) for n in range(MAX_RECORDS)]
        data = reply(zone(*rows), question(NAME, dns.SRV), True)
        assert data is not None
        self.assertLessEqual(len(data), MAX_MESSAGE)
        self.assertGreater(len(read(data).answers), MAX_RECORDS // 4)

    def test_a_later_version_of_edns_is_told_so(self) -> None:
        answer = self.ask(NAME, dns.A, option(1232, version=1))
        self.assertEqual((answer.rCode, answer.additional[0].ttl >> 24, answer.answers), (0, 1, []))
        self.assertEqual(self.ask(NAME, dns.A, option(1232), option(1232)).rCode, dns.EFORMAT)

    def test_an_answer_is_never_answered(self) -> None:
        self.assertIsNone(reply(zone(), question(answer=1), False))
        self.assertIsNone(reply(zone(), b"\0" * 11, False))

    def test_what_is_malformed_or_unknown_is_told_so(self) -> None:
        header = struct.Struct("!HBBHHHH")
        for data, code in (
            (header.pack(1, 0, 0, 0, 0, 0, 0), dns.EFORMAT),
            (header.pack(1, 0, 0, 1, 0, 0, 0), dns.EFORMAT),
            (header.pack(1, 0, 0, 2, 0, 0, 0) + question()[12:] * 2, dns.EFORMAT),
            (header.pack(1, 0, 0, 1, 0, 0, 1) + question()[12:], dns.EFORMAT),
            (header.pack(1, 0, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", dns.EFORMAT),
            (header.pack(1, 0, 0, 1, 0, 0, 0) + b"\x50" + b"a" * 80 + b"\0\0\1\0\1", dns.EFORMAT),
            (header.pack(1, 0, 0, 1, 0, 0, 0) + b"\1a" * 130 + b"\0\0\1\0\1", dns.EFORMAT),
            (question() + b"\0" * MAX_QUESTION, dns.EFORMAT),
            (question(opCode=dns.OP_NOTIFY), dns.ENOTIMP),
            (question(opCode=dns.OP_INVERSE), dns.ENOTIMP),
        ):
            self.assertEqual(read(reply(zone(), data, False)).rCode, code, data)

    def test_trouble_inside_is_logged_and_told(self) -> None:
        def fail(*_: object) -> Any:
            raise RuntimeError("inside")

        broken = Zone(Table(fail, fail, fail), fail)
        self.assertEqual(read(reply(broken, question(), False)).rCode, dns.ESERVER)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    @given(st.binary(max_size=600), st.booleans())
    def test_any_bytes_are_borne(self, data: bytes, is_stream: bool) -> None:
        reply(zone(*many(1)), data, is_stream)
        # And as the rest of what begins as a question does.
        reply(zone(*many(1)), b"\0\1\1\0\0\1\0\0\0\0\0\1" + data, is_stream)

    @given(st.data())
    def test_any_damage_is_borne(self, data: st.DataObject) -> None:
        asked = bytearray(question(NAME, dns.SRV, option(1232)))
        for _ in range(data.draw(st.integers(1, 4))):
            asked[data.draw(st.integers(0, len(asked) - 1))] = data.draw(st.integers(0, 255))
        answer = reply(zone(*many(3)), bytes(asked[: data.draw(st.integers(0, len(asked)))]), False)
        self.assertLessEqual(len(answer or b""), MAX_DATAGRAM)


class FakeDatagramTransport:
    """Where datagrams go to; ``broken``: nowhere."""

    broken = False

    def __init__(self) -> None:
        self.written: list[tuple[bytes, Any]] = []

    def write(self, data: bytes, address: Any) -> None:
        if self.broken:
            raise OSError(22, "Invalid argument")
        self.written.append((data, address))


class DatagramTests(SynchronousTestCase):
    def test_a_question_is_answered_to_who_asked(self) -> None:
        datagrams = Datagrams(zone(*many(1)))
        datagrams.transport = transport = FakeDatagramTransport()
        datagrams.datagramReceived(question(), ("10.0.0.9", 4000))
        datagrams.datagramReceived(b"nothing", ("10.0.0.9", 4000))
        ((data, address),) = transport.written
        self.assertEqual((len(read(data).answers), address), (1, ("10.0.0.9", 4000)))
        transport.broken = True
        datagrams.datagramReceived(question(), ("10.0.0.9", 0))


class Wire(StringTransport):
    """A transport that was aborted, or is told that its buffer is full."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def answers(self) -> list[dns.Message]:
        data, found = self.value(), []
        while data:
            size = 2 + int.from_bytes(data[:2], "big")
            found.append(read(data[2:size]))
            data = data[size:]
        return found


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.streams = Streams(zone(*many(MAX_RECORDS)), self.clock, limit=2)

    def connected(self) -> tuple[Stream, Wire]:
        stream, wire = self.streams.buildProtocol(None), Wire()
        stream.makeConnection(wire)
        return stream, wire

    def gone(self, *streams: Stream) -> None:
        for stream in streams:
            stream.connectionLost()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_questions_come_one_after_the_other_and_in_pieces(self) -> None:
        stream, wire = self.connected()
        asked = question()
        for byte in (len(asked).to_bytes(2, "big") + asked) * 2:
            stream.dataReceived(bytes([byte]))
        self.assertEqual([len(answer.answers) for answer in wire.answers()], [MAX_RECORDS] * 2)
        self.gone(stream)

    def test_who_does_not_read_is_not_read_from(self) -> None:
        stream, wire = self.connected()
        asked = question()
        stream.pauseProducing()
        stream.dataReceived((len(asked).to_bytes(2, "big") + asked) * 3)
        self.assertEqual((wire.value(), wire.producerState), (b"", "paused"))
        stream.resumeProducing()
        self.assertEqual(len(wire.answers()), 3)
        self.gone(stream)

    def test_who_is_silent_or_trickles_is_cut_off(self) -> None:
        stream, wire = self.connected()
        stream.dataReceived(b"\0\x50")
        for _ in range(int(IDLE)):
            self.assertFalse(wire.aborted)
            stream.dataReceived(b"a")
            self.clock.advance(1)
        self.assertTrue(wire.aborted)
        self.gone(stream)

    def test_what_is_no_question_ends_the_connection(self) -> None:
        for data in (b"\xff\xff", b"\0\3abc", (MAX_QUESTION + 1).to_bytes(2, "big")):
            stream, wire = self.connected()
            stream.dataReceived(data)
            self.assertTrue(wire.aborted, data)
            self.gone(stream)

    def test_connections_are_counted(self) -> None:
        (stream, wire), (other, _) = self.connected(), self.connected()
        self.assertIsNone(self.streams.buildProtocol(None))
        self.streams.close_all()
        self.assertTrue(wire.aborted)
        self.gone(stream, other)
        self.assertIsNotNone(self.streams.buildProtocol(None))
