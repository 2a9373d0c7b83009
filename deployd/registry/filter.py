"""What a reader asks the port table for."""

from __future__ import annotations

import re

from attrs import frozen

from deployd.model.names import is_commit
from deployd.model.registration import Registration

_PREFIX = re.compile(r"[0-9a-f]{4,39}")


@frozen
class RowFilter:
    """Every part that is not empty must be equal; ``namespace`` may also be a prefix of a commit, from 4 characters.

    Only commits are found by prefix: nobody can slip rows into a lookup by naming a namespace like one.
    """

    namespace: str = ""
    app: str = ""
    release: str = ""
    role: str = ""
    version: str = ""

    @property
    def exact_namespace(self) -> str:
        """The one namespace that can match; "" when several can."""
        return "" if _PREFIX.fullmatch(self.namespace) else self.namespace

    def takes_namespace(self, namespace: str) -> bool:
        if not self.namespace or namespace == self.namespace:
            return True
        is_prefix = _PREFIX.fullmatch(self.namespace) is not None and namespace.startswith(self.namespace)
        return is_prefix and is_commit(namespace)

    def takes(self, row: Registration) -> bool:
        return self.takes_namespace(row.namespace) and self.takes_rest(row)

    def takes_rest(self, row: Registration) -> bool:
        """``takes`` for a row whose namespace was looked at already."""
        return (
            (not self.role or row.role == self.role)
            and (not self.app or row.app == self.app)
            and (not self.release or row.release == self.release)
            and (not self.version or row.version == self.version)
        )
