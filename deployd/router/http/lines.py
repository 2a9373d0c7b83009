"""The fields of a head, line by line.

Note [Known lines]
~~~~~~~~~~~~~~~~~~
Clients and apps say the same few lines again and again: what a line means is found out once and kept, as long as there
are not too many. A line that was seen before costs one look into a dict, whatever the checks of it cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

MAX_FIELDS = 100
MAX_KNOWN = 4096
# Longer lines are seldom said twice, nor is what is secret.
MAX_LENGTH = 200
SECRET = frozenset((b"cookie", b"authorization", b"set-cookie"))

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD = re.compile(rb"(" + TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*)")


class BadLine(Exception):
    """A line that is no field."""


class KnownLines(dict[bytes, tuple[int, Any]]):
    """What each line is: a kind (PASS: nobody's business here) and what ``values`` makes of its value.

    ``kind`` says it of a name in lower case; ``values`` has a function for each kind whose value is not simply the
    bytes without the spaces around them. Looking up a line that is no field raises BadLine, or whatever that function
    raises.
    """

    def __init__(self, kind: Callable[[bytes], int], values: dict[int, Callable[[bytes], Any]]) -> None:
        super().__init__()
        self._kind = kind
        self._values = values

    def __missing__(self, line: bytes) -> tuple[int, Any]:
        matched = _FIELD.fullmatch(line)
        if matched is None:
            raise BadLine
        name = matched[1].lower()
        kind = self._kind(name)
        value = matched[2].strip(b" \t")
        known = (kind, self._values[kind](value) if kind in self._values else value)
        if len(line) <= MAX_LENGTH and name not in SECRET:
            if len(self) >= MAX_KNOWN:
                self.clear()
            self[line] = known
        return known


def name_of(line: bytes) -> bytes:
    """A field's name in lower case."""
    return line.partition(b":")[0].lower()


def tokens(value: bytes) -> tuple[bytes, ...]:
    """The members of a list such as Connection's, in lower case."""
    return tuple(token.strip(b" \t").lower() for token in value.split(b",") if token.strip(b" \t"))


def without(lines: list[bytes], names: set[bytes]) -> list[bytes]:
    """``lines`` without the fields called ``names``: those that Connection names are for one hop."""
    return [line for line in lines if name_of(line) not in names]
