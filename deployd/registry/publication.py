"""Publications while their parts come in.

Note [Who is silent makes room]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
An owner may begin a publication and never end it, and a hundred owners may. So all that are under way are bounded
together, too. One that needs room gets it from the one whose last part came longest ago: that one begins anew, if there
is still somebody behind it. Nobody who goes on is kept from it by those who do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployd.errors import Refused
from deployd.model.registration import Registration, meta_bytes
from deployd.registry.limits import Limits
from deployd.wire.paging import Assembly


class Publications:
    """All that are under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rows = 0
        self.meta = 0
        # The one whose last part came longest ago is first.
        self._held: dict[Publication, None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def took(self, publication: Publication, rows: int, meta: int) -> None:
        self._held.pop(publication, None)
        self._held[publication] = None
        self.rows += rows
        self.meta += meta
        while len(self._held) > 1 and self.limits.is_too_much_under_way(self.rows, self.meta):
            next(iter(self._held)).drop()

    def dropped(self, publication: Publication, rows: int, meta: int) -> None:
        if publication in self._held:
            del self._held[publication]
            self.rows -= rows
            self.meta -= meta


class Publication:
    """Keeps the parts, which were admitted, until the last one is there; no more than an owner may have."""

    def __init__(self, all: Publications) -> None:
        self._all = all
        self._parts: Assembly[Registration] = Assembly()
        self._rows = 0
        self._meta = 0

    def add(self, part: int, parts: int, rows: Sequence[Registration]) -> tuple[Registration, ...] | None:
        """All rows with the last part, None before; raise Malformed out of order, and Refused."""
        if part == 0:
            self.drop()
        meta = sum(map(meta_bytes, rows))
        try:
            self._all.limits.check_publication(self._rows + len(rows), self._meta + meta)
        except Refused:
            self.drop()
            raise
        whole = self._parts.add(part, parts, rows)
        self._rows += len(rows)
        self._meta += meta
        self._all.took(self, len(rows), meta)
        if whole is not None:
            self.drop()
        return whole

    def drop(self) -> None:
        """Keep nothing: it ends, or begins anew."""
        self._all.dropped(self, self._rows, self._meta)
        self._parts, self._rows, self._meta = Assembly(), 0, 0
