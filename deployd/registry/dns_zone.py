"""The port table as a DNS zone: a name and a type in, records out; no packets, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from itertools import islice
from typing import Any

from attrs import field, frozen
from twisted.names import dns

from deployd.model.names import is_commit
from deployd.model.registration import Registration
from deployd.registry.dns_names import ZONE, IPAddress, address_label, labelled_address, labels_in_zone, sought
from deployd.registry.filter import RowFilter

# Seconds for which others may remember what there is, and what there is not.
TTL = 5
NEGATIVE_TTL = 1
# So many records are in one answer; so many rows are looked at for it.
MAX_RECORDS = 100
MAX_ROWS = 1000

NAME_SERVER = f"ns.{ZONE}"

_HOST = re.compile(r"[A-Za-z0-9_.-]+")


class Verdict(Enum):
    """How a question ends. ``EMPTY``: the name exists, without records of that type."""

    FOUND = "found"
    EMPTY = "empty"
    NO_SUCH_NAME = "no such name"
    REFUSED = "refused"


@frozen
class Answer:
    """``start`` is the zone's SOA record, for what is not there."""

    verdict: Verdict
    records: list[dns.RRHeader] = field(factory=list)
    additional: list[dns.RRHeader] = field(factory=list)
    start: dns.RRHeader | None = None


@frozen
class Table:
    """What a zone reads: rows, in any order, whether a row's owner is away, and the number of the last change."""

    rows: Callable[[RowFilter], Iterable[Registration]]
    is_marked: Callable[[Registration], bool]
    number: Callable[[], int]


class Zone:
    """``shuffle`` puts a list in an order by chance, so that load is spread over rows."""

    def __init__(self, table: Table, shuffle: Callable[[list[Registration]], None]) -> None:
        self._table = table
        self._shuffle = shuffle

    def answer(self, name: bytes, kind: int) -> Answer:
        """``name`` as it was asked for, in capitals or not, without the last dot."""
        labels = labels_in_zone(name.decode("latin-1"))
        if labels is None or kind in (dns.AXFR, dns.IXFR):
            return Answer(Verdict.REFUSED)
        exists, records, additional = self._records(name, labels, kind)
        if kind == dns.ALL_RECORDS and exists:
            # RFC 8482: nobody needs everything at once, but for floods under another's name.
            records = [_record(name, dns.Record_HINFO(b"RFC8482", b"", TTL))]
        if records:
            return Answer(Verdict.FOUND, records, additional)
        return Answer(Verdict.EMPTY if exists else Verdict.NO_SUCH_NAME, start=self._start())

    def _records(
        self, name: bytes, labels: tuple[str, ...], kind: int
    ) -> tuple[bool, list[dns.RRHeader], list[dns.RRHeader]]:
        """Whether the name exists, and its records of that kind with what goes with them."""
        if not labels:
            return True, self._of_the_zone(name, kind), []
        address = labelled_address(labels[0]) if len(labels) == 1 else None
        if address is not None:
            return True, _of_addresses(name, [address], kind), []
        if len(labels) == 1 and f"{labels[0].lower()}.{ZONE}" == NAME_SERVER:
            return True, [], []
        wanted = sought(labels)
        rows = self._rows(wanted.rows)
        if not rows:
            return any(True for one in wanted.beneath for _ in self._table.rows(one)), [], []
        if kind == dns.SRV:
            return True, *_of_services(name, rows)
        if wanted.is_service:
            return True, [], []
        return True, _of_addresses(name, [host for row in rows if (host := _address(row.host))], kind), []

    def _rows(self, filters: tuple[RowFilter, ...]) -> list[Registration]:
        """The rows of the first of these that has any, in an order by chance; those that are marked if all are."""
        for wanted in filters:
            rows = list(islice(self._table.rows(wanted), MAX_ROWS))
            if wanted.namespace:
                rows = _of_one_namespace(rows)
            if rows:
                present = [row for row in rows if not self._table.is_marked(row)]
                self._shuffle(present or rows)
                return present or rows
        return []

    def _of_the_zone(self, name: bytes, kind: int) -> list[dns.RRHeader]:
        if kind == dns.SOA:
            return [self._start()]
        return [_record(name, dns.Record_NS(NAME_SERVER, TTL))] if kind == dns.NS else []

    def _start(self) -> dns.RRHeader:
        soa = dns.Record_SOA(
            mname=NAME_SERVER,
            rname=f"hostmaster.{ZONE}",
            serial=self._table.number() % 2**32,
            refresh=TTL,
            retry=TTL,
            expire=TTL,
            minimum=NEGATIVE_TTL,
            ttl=NEGATIVE_TTL,
        )
        return _record(ZONE.encode(), soa)


def _of_one_namespace(rows: list[Registration]) -> list[Registration]:
    """Rows of the commit that a prefix stands for; none when it is of several, and no others beside it."""
    commits = {row.namespace for row in rows if is_commit(row.namespace)}
    if not commits:
        return rows
    return [row for row in rows if row.namespace in commits] if len(commits) == 1 else []


def _of_addresses(name: bytes, addresses: Iterable[IPAddress], kind: int) -> list[dns.RRHeader]:
    if kind not in (dns.A, dns.AAAA):
        return []
    records = (_of_address(name, address) for address in dict.fromkeys(addresses))
    return list(islice((record for record in records if record.type == kind), MAX_RECORDS))


def _of_address(name: bytes, address: IPAddress) -> dns.RRHeader:
    plain = str(address).partition("%")[0]
    kind = dns.Record_A if isinstance(address, IPv4Address) else dns.Record_AAAA
    return _record(name, kind(plain, TTL))


def _of_services(name: bytes, rows: list[Registration]) -> tuple[list[dns.RRHeader], list[dns.RRHeader]]:
    """SRV records, and the addresses of those targets that are only names for one."""
    records: dict[tuple[str, int], dns.RRHeader] = {}
    addresses: dict[str, dns.RRHeader] = {}
    for row in rows:
        address = _address(row.host)
        target = f"{address_label(address)}.{ZONE}" if address else row.host.removesuffix(".")
        if not (address or _HOST.fullmatch(target)) or not is_sound(target.encode()):
            continue
        if len(records) == MAX_RECORDS:
            break
        records[target, row.port] = _record(name, dns.Record_SRV(0, 0, row.port, target, TTL))
        if address:
            addresses[target] = _of_address(target.encode(), address)
    return list(records.values()), list(addresses.values())


@lru_cache(maxsize=4096)
def _address(host: str) -> IPAddress | None:
    """The address that a row's host is; None for a name, and for one that only means something on one machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address if getattr(address, "scope_id", None) is None else None


def is_sound(name: bytes) -> bool:
    """Whether ``name`` (without the last dot) can be written in a packet; "" is the root."""
    return len(name) <= 253 and (not name or all(0 < len(label) < 64 for label in name.split(b".")))


def _record(name: bytes, payload: Any) -> dns.RRHeader:
    return dns.RRHeader(name, payload.TYPE, dns.IN, payload.ttl, payload, auth=True)
