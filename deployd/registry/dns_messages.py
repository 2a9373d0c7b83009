"""DNS messages: the bytes of a question in, those of its answer out.

Note [What twisted.names leaves open]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Its records and messages are used here, its DNSServerFactory is not. That one answers answers, so that two servers can
be led to talk to each other for ever; cuts what is too long in the middle of a record; knows no EDNS; decodes however
many names a packet says it holds, which may all point to the same long one (8 KB keep it busy for 0.2 s);
writes pointers that overflow in answers of more than 16 KB; and logs a traceback for a malformed packet.
"""

from __future__ import annotations

from struct import Struct

from twisted.logger import Logger
from twisted.names import dns

from deployd.registry.dns_zone import Answer, Verdict, Zone, is_sound

# The longest question; with its one name, and what EDNS adds, it has some 300 bytes at the most.
MAX_QUESTION = 1232
MAX_ADDITIONAL = 4
# What goes unfragmented everywhere, and is the most over UDP even for those who say that they take more.
MAX_DATAGRAM = 1232
PLAIN_DATAGRAM = 512
# How far a pointer to a name can point.
MAX_MESSAGE = 0x3FFF

_HEADER = Struct("!HBBHHHH")
# The bytes of an A record whose name is a pointer.
_SMALLEST = 16
_OPT = 41
_BAD_VERSION = 1

_CODES = {
    Verdict.FOUND: dns.OK,
    Verdict.EMPTY: dns.OK,
    Verdict.NO_SUCH_NAME: dns.ENAME,
    Verdict.REFUSED: dns.EREFUSED,
}

_log = Logger()


def reply(zone: Zone, data: bytes, is_stream: bool) -> bytes | None:
    """The answer to a question; None for what is none. Never raises, whatever the bytes."""
    if len(data) < _HEADER.size:
        return None
    number, flags, _, *counts = _HEADER.unpack_from(data)
    if flags & 0x80:
        return None
    response = dns.Message(number, answer=1, opCode=flags >> 3 & 0xF, recDes=flags & 1, maxSize=0)
    if response.opCode != dns.OP_QUERY:
        return _refused(response, dns.ENOTIMP)
    asked = _decoded(data, counts)
    if asked is None:
        return _refused(response, dns.EFORMAT)
    response.queries = asked.queries
    options = [record for record in asked.additional if record.type == _OPT]
    if len(options) > 1:
        return _refused(response, dns.EFORMAT)
    largest = MAX_MESSAGE if is_stream else PLAIN_DATAGRAM
    if options:
        largest = largest if is_stream else min(MAX_DATAGRAM, max(PLAIN_DATAGRAM, options[0].cls))
        version = options[0].ttl >> 16 & 0xFF
        response.additional = [_option(_BAD_VERSION if version else 0)]
        if version:
            return response.toStr()
    _fill(response, zone)
    return _fitting(response, largest, is_stream)


def _decoded(data: bytes, counts: list[int]) -> dns.Message | None:
    """A message with one question; None for what is malformed."""
    queries, answers, authorities, additional = counts
    if queries != 1 or answers or authorities or additional > MAX_ADDITIONAL or len(data) > MAX_QUESTION:
        return None
    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # the parsers of records raise whatever they meet
        return None
    if len(message.queries) != 1 or len(message.additional) != additional:
        return None
    return message if is_sound(message.queries[0].name.name) else None


def _fill(response: dns.Message, zone: Zone) -> None:
    (query,) = response.queries
    try:
        answer = zone.answer(query.name.name, query.type) if query.cls == dns.IN else Answer(Verdict.REFUSED)
    except Exception:  # one question's trouble is not the next one's
        _log.failure("while answering a question of DNS")
        response.rCode = dns.ESERVER
        return
    response.rCode = _CODES[answer.verdict]
    response.auth = answer.verdict is not Verdict.REFUSED
    response.answers = answer.records
    response.authority = [answer.start] if answer.start else []
    response.additional = answer.additional + response.additional


def _fitting(response: dns.Message, largest: int, is_stream: bool) -> bytes:
    """``response`` as bytes; what does not fit goes: first the addresses of targets, then over UDP all records."""
    options = [record for record in response.additional if record.type == _OPT]
    # A hundred records are not written only to see that they are too long.
    if _SMALLEST * len(response.answers) <= largest:
        for additional in (response.additional, options):
            response.additional = additional
            if len(data := response.toStr()) <= largest:
                return data
    if not is_stream:
        response.trunc, response.answers, response.authority, response.additional = 1, [], [], options
    while len(data := response.toStr()) > largest:
        response.answers = response.answers[: len(response.answers) // 2]
    return data


def _refused(response: dns.Message, code: int) -> bytes:
    response.rCode = code
    return response.toStr()


def _option(extended_code: int) -> dns.RRHeader:
    """The OPT record of an answer (RFC 6891): the class is the largest datagram, the TTL more of the code."""
    return dns.RRHeader(b"", _OPT, MAX_DATAGRAM, extended_code << 24, dns.UnknownRecord(b""))
