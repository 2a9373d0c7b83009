"""A router as the hub knows it, and what the hub tells it."""

from __future__ import annotations

from attrs import field, frozen

from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine


@frozen
class KnownRouter:
    """A router that entered and has neither left nor lost its lease; ``id`` is its identity, a UUID."""

    id: str
    name: str


@frozen(order=True)
class ReleaseKey:
    app: str
    release: str

    def __str__(self) -> str:
        return f"{self.app} {self.release}"


@frozen(order=True)
class DroneHost:
    """A drone that the hub accepted: rows of ``owner`` are believed where their host is ``host``."""

    owner: str
    host: str


@frozen
class TableItem:
    """One line of what a router is told: exactly one of its fields is given.

    ``route`` and ``drone`` are put, ``gone`` and ``lost`` (an owner) are taken away. ``leaving`` (an instance's id) and
    ``retiring`` get no new requests and are accounted for in Standing; those are whole lists in every update.
    """

    route: RouteLine | None = None
    gone: RouteKey | None = None
    drone: DroneHost | None = None
    lost: str = ""
    leaving: str = ""
    retiring: ReleaseKey | None = None


@frozen
class Standing:
    """Where a router stands, all its workers together.

    ``table`` is the newest revision of the hub's that all of them follow, ``registry`` the newest of the registry's.
    ``busy`` counts the requests under way by instance id, ``releases`` by ``str(ReleaseKey)``; both only of what is
    leaving or retiring, and without zeros.
    """

    table: Revision
    registry: Revision
    busy: dict[str, int] = field(factory=dict, hash=False)
    releases: dict[str, int] = field(factory=dict, hash=False)
