"""The parameters of a request: few, short, known, and none twice."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from twisted.web.server import Request

from deployd.model.invalid import Invalid
from deployd.model.names import shown
from deployd.registry.filter import Near, RowFilter
from deployd.registry.site import BadRequest
from deployd.registry.waiting import MAX_WAIT

MAX_VALUE = 200
MAX_PARAMETERS = 40

META = "meta."

# The others choose rows by what is said, and all rows where nothing is.
NEVER_EMPTY = frozenset({"wait", "since", "port"})

# What rows may be chosen by; beside these any ``meta.KEY``.
FILTERS = ("match", "namespace", "app", "release")

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]+)?(e-[0-9]+)?", re.ASCII)


def arguments(request: Request, *known: str, meta: bool = False) -> dict[str, str]:
    """The query's parameters by name, "" for those not given; raise BadRequest for anything else.

    With ``meta``, parameters ``meta.KEY`` too.
    """
    found = dict.fromkeys(known, "")
    given: set[str] = set()
    for name, value in _parsed(request):
        if name not in known and not (meta and name.startswith(META) and name != META):
            expected = [*known, "meta.KEY"] if meta else known
            there = f"there are {', '.join(expected)}" if expected else "there are none"
            raise BadRequest(f"there is no parameter {shown(name)} here; {there}")
        if name in given:
            raise BadRequest(f"the parameter {shown(name)} is given more than once")
        if len(value) > MAX_VALUE:
            raise BadRequest(f"the parameter {shown(name)} has more than {MAX_VALUE} characters")
        if not value and name in NEVER_EMPTY:
            raise BadRequest(f"the parameter {name!r} is empty")
        given.add(name)
        found[name] = value
    return found


def _parsed(request: Request) -> list[tuple[str, str]]:
    query = request.uri.partition(b"?")[2]
    try:
        text = query.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise BadRequest("the parameters are not UTF-8, written in %XX") from None
    except ValueError:
        raise BadRequest(f"there are more than {MAX_PARAMETERS} parameters") from None


def row_filter(asked: dict[str, str]) -> RowFilter:
    """The rows that are wanted; raise BadRequest."""
    meta = {name.removeprefix(META): value for name, value in asked.items() if name.startswith(META)}
    try:
        return RowFilter.parse(asked["match"], asked["namespace"], asked["app"], asked["release"], meta)
    except Invalid as error:
        raise BadRequest(str(error)) from None


def near(text: str) -> Near:
    try:
        return Near.parse(text)
    except Invalid as error:
        raise BadRequest(str(error)) from None


def seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT:
        raise BadRequest(f"wait is a number of seconds from 0 to {MAX_WAIT:.0f}, not {shown(text)}")
    return float(text)
