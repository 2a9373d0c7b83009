"""Amounts of memory and disk as people write them."""

from __future__ import annotations

import re

from deployd.model.invalid import Invalid

_SIZE = re.compile(r"(0|[1-9][0-9]{0,15})([KMGT]?)", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
LARGEST = 1 << 50


def byte_count(text: str) -> int:
    """``512M`` (K, M, G, T: powers of 1024) as a number of bytes; raise Invalid."""
    found = _SIZE.fullmatch(text)
    size = int(found[1]) << _UNITS[found[2].upper()] if found else -1
    if not 0 <= size <= LARGEST:
        raise Invalid(f'{text[:40]!r} is not a number of bytes like "512M" (K, M, G, T) up to 1024T')
    return size
