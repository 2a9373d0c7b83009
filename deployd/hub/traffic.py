"""What planned stops ask of the routers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from deployd.model.revision import Revision
from deployd.model.router import ReleaseKey


class Traffic(Protocol):
    """The routers, as far as whoever takes something down has to know of them."""

    def live(self) -> Collection[str]:
        """Those that may be sending requests."""

    def passed(self, id: str, freed: Revision | None) -> bool:
        """Whether none of them has or begins a request to instance ``id``, which is leaving."""

    def quiet(self, release: ReleaseKey) -> bool:
        """Whether none of them has or begins a request to ``release``, which is retiring."""


class NoTraffic:
    """There is no router."""

    def live(self) -> Collection[str]:
        return ()

    def passed(self, id: str, freed: Revision | None) -> bool:
        return True

    def quiet(self, release: ReleaseKey) -> bool:
        return True
