"""A publication while its parts come in."""

from __future__ import annotations

from collections.abc import Sequence

from deployd.errors import Refused
from deployd.model.registration import Registration, meta_bytes
from deployd.registry.limits import Limits
from deployd.wire.paging import Assembly


class Publication:
    """Keeps the parts, which were admitted, until the last one is there; no more than an owner may have."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: Assembly[Registration] = Assembly()
        self._meta = 0

    def add(self, part: int, parts: int, rows: Sequence[Registration]) -> tuple[Registration, ...] | None:
        """All rows with the last part, None before; raise Malformed out of order, and Refused."""
        if part == 0:
            self._parts, self._meta = Assembly(), 0
        self._meta += sum(map(meta_bytes, rows))
        try:
            self._limits.check_publication(self._parts.held + len(rows), self._meta)
        except Refused:
            self._parts, self._meta = Assembly(), 0
            raise
        return self._parts.add(part, parts, rows)
