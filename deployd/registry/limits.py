"""What owners of rows may take."""

from __future__ import annotations

from attrs import frozen

from deployd.errors import Refused
from deployd.registry.owner import Owner


@frozen
class Limits:
    """How many rows and bytes of metadata one owner may have, and all together; how many owners there may be at once;
    how many rows change with one update, about how many fall together, and how much publications have under way."""

    rows_per_owner: int = 10_000
    rows: int = 200_000
    owners: int = 20_000
    meta_per_owner: int = 8 * 1024 * 1024
    meta: int = 64 * 1024 * 1024
    changes_per_update: int = 2_000
    falling: int = 2_000
    rows_under_way: int = 100_000
    meta_under_way: int = 32 * 1024 * 1024

    def check_owners(self, count: int) -> None:
        """Raise Refused if there are ``count`` owners and one more comes."""
        if count >= self.owners:
            raise Refused(f"the registry has {self.owners} owners, as many as it can take")

    def check_update(self, count: int) -> None:
        """Raise Refused for an update of ``count`` rows."""
        if count > self.changes_per_update:
            raise Refused(f"one update changes at most {self.changes_per_update} rows, not {count}")

    def check_publication(self, rows: int, meta: int) -> None:
        """Raise Refused for a publication of so many rows with so much metadata."""
        if rows > self.rows_per_owner:
            raise Refused(f"an owner may have {self.rows_per_owner} rows, not {rows}")
        if meta > self.meta_per_owner:
            raise Refused(f"an owner's rows may have {self.meta_per_owner} bytes of metadata together, not {meta}")

    def is_too_much_under_way(self, rows: int, meta: int) -> bool:
        """Whether publications that have not ended may not have so much together."""
        return rows > self.rows_under_way or meta > self.meta_under_way

    def check_rows(self, owner: Owner, more: int, count: int) -> None:
        """Raise Refused if ``owner`` gets ``more`` rows than it has and those of all become ``count``."""
        if more <= 0:
            return
        if len(owner.ids) + more > self.rows_per_owner:
            raise Refused(f"an owner may have {self.rows_per_owner} rows, not {len(owner.ids) + more}")
        if count > self.rows:
            raise Refused(f"the registry is full: it holds {self.rows} rows")

    def check_meta(self, owner: Owner, more: int, total: int) -> None:
        """Raise Refused if ``owner`` gets so much ``more`` metadata than it has and that of all becomes ``total``."""
        if more <= 0:
            return
        if owner.meta + more > self.meta_per_owner:
            asked = owner.meta + more
            raise Refused(f"an owner's rows may have {self.meta_per_owner} bytes of metadata together, not {asked}")
        if total > self.meta:
            raise Refused(f"the registry is full: it holds {self.meta} bytes of metadata")
