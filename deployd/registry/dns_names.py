"""What a name in the zone ``deployd`` stands for: values in, filters out; no packets.

Note [Names in DNS]
~~~~~~~~~~~~~~~~~~~
    ROLE.COMMIT7       rows of the one commit that begins with these digits, 7 or more
    ROLE.APP           rows of the app, whatever the release; ``team/webapp`` is ``team--webapp``
    ROLE.vN.APP        rows of that release
    ROLE.NAMESPACE     rows of a namespace that is no commit
    _ROLE._tcp.REST    the same, as clients of SRV ask
    ip4-10-0-0-1       the address itself, for SRV, whose targets must be names; ip6-... with all eight parts

DNS takes capitals for the same as small letters, and resolvers mix them at will. So a name is tried as it is written,
then in small letters. An app is one label, with ``--`` for each ``/``, so that no name of one app is above another's.
A name that has others beneath it exists, although it has no records: resolvers ask for the short ones first, and what
does not exist has nothing beneath it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import evolve, frozen

from deployd.model.invalid import Invalid
from deployd.model.names import app_name, release_number, role_name
from deployd.registry.filter import RowFilter

ZONE = "deployd"

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
# As long as a prefix of a commit may be elsewhere: such a namespace cannot be asked for alone.
_LIKE_A_COMMIT = re.compile(r"[0-9a-f]{4,40}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

IPAddress = IPv4Address | IPv6Address


@frozen
class Sought:
    """``rows``: the first of these that takes any has the rows of the name. ``beneath``: which rows have a name below.

    ``is_service``: the name is one of those that only have SRV records.
    """

    rows: tuple[RowFilter, ...] = ()
    beneath: tuple[RowFilter, ...] = ()
    is_service: bool = False


def labels_in_zone(name: str) -> tuple[str, ...] | None:
    """The labels before the zone's; None when ``name`` is in another zone."""
    labels = name.split(".")
    return tuple(labels[:-1]) if labels[-1].lower() == ZONE else None


def sought(labels: tuple[str, ...]) -> Sought:
    """What these labels of the zone, at least one, ask for."""
    small = tuple(label.lower() for label in labels)
    found = [_sought(spelled) for spelled in dict.fromkeys((labels, small))]
    return Sought(
        tuple(wanted for one in found for wanted in one.rows),
        tuple(wanted for one in found for wanted in one.beneath),
        found[-1].is_service,
    )


def _sought(labels: tuple[str, ...]) -> Sought:
    first, *rest = labels
    if first.lower() == "_tcp":
        return Sought(beneath=tuple(_places(rest)))
    if first.startswith("_"):
        if not rest or rest[0].lower() != "_tcp":
            return Sought()
        return Sought(rows=tuple(_in_role(first[1:], rest[1:])), is_service=True)
    return Sought(rows=tuple(_in_role(first, rest)), beneath=tuple(_places(list(labels))))


def _in_role(role: str, place: list[str]) -> Iterator[RowFilter]:
    try:
        role_name(role)
    except Invalid:
        return
    for wanted in _places(place):
        yield evolve(wanted, role=role)


def _places(labels: list[str]) -> Iterator[RowFilter]:
    """``COMMIT``, ``APP``, ``vN.APP`` or ``NAMESPACE``, in the order in which they count."""
    if len(labels) == 2 and release_number(labels[0]):
        yield from (RowFilter(app=app, release=labels[0]) for app in _apps(labels[1]))
    if len(labels) != 1:
        return
    (label,) = labels
    if _COMMIT.fullmatch(label):
        yield RowFilter(namespace=label)
    yield from (RowFilter(app=app) for app in _apps(label))
    if _NAMESPACE.fullmatch(label) and not _LIKE_A_COMMIT.fullmatch(label):
        yield RowFilter(namespace=label)


def _apps(label: str) -> Iterator[str]:
    for app in dict.fromkeys((label.replace("--", "/"), label)):
        try:
            yield app_name(app)
        except Invalid:
            continue


def address_label(address: IPAddress) -> str:
    """The label that stands for an address."""
    if isinstance(address, IPv4Address):
        return f"ip4-{str(address).replace('.', '-')}"
    return f"ip6-{address.exploded.partition('%')[0].replace(':', '-')}"


def labelled_address(label: str) -> IPAddress | None:
    """The address that a label stands for; None for any other label."""
    kind, dash, text = label.lower().partition("-")
    if not dash or kind not in ("ip4", "ip6"):
        return None
    try:
        address = ip_address(text.replace("-", "." if kind == "ip4" else ":"))
    except ValueError:
        return None
    return address if address_label(address) == label.lower() else None
