"""One process that requests can be sent to."""

from __future__ import annotations

from sys import intern
from typing import Any

from attrs import define, field

from deployd.model.registration import Registration


@define(eq=False)
class Target:
    """One row of the port table that the router believes.

    ``gone``: it gets no new requests, because its row went or because it is leaving or retiring; the proxy closes what
    is idle and does not pool again. It is also False again should a target that was leaving stay after all.
    ``failures``, ``ejected_until`` and ``trouble_until`` (monotonic) follow Note [Passive ejection]; ``place`` is where
    it stands in its pool; ``idle`` belongs to the proxy.
    """

    id: str
    app: str
    release: str
    role: str
    commit: str
    host: str
    port: int
    owner: str = ""
    in_flight: int = 0
    gone: bool = False
    failures: int = 0
    ejected_until: float = 0.0
    trouble_until: float = 0.0
    place: int = -1
    idle: list[Any] = field(factory=list)

    @classmethod
    def of(cls, row: Registration) -> Target:
        """A hundred thousand rows say a few hundred words: each is kept once."""
        return cls(
            row.id,
            intern(row.app),
            intern(row.release),
            intern(row.role),
            intern(row.namespace),
            intern(row.host),
            row.port,
            intern(row.owner),
        )

    def row(self) -> Registration:
        """What of the row matters to a router."""
        return Registration(
            id=self.id,
            namespace=self.commit,
            role=self.role,
            host=self.host,
            port=self.port,
            app=self.app,
            release=self.release,
            owner=self.owner,
        )

    def is_as(self, row: Registration) -> bool:
        """Whether ``row`` says the same of it as the row that it was made from."""
        return (self.host, self.port, self.commit, self.app, self.release, self.role, self.owner) == (
            row.host,
            row.port,
            row.namespace,
            row.app,
            row.release,
            row.role,
            row.owner,
        )
