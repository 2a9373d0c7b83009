"""A router without requests: it follows what the hub tells it, and says where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployd.model.revision import Revision
from deployd.model.route import RouteKey, Setting, Tally
from deployd.model.router import Standing, TableItem
from deployd.net.conversation import Conversation, responder
from deployd.net.identity import Identity
from deployd.wire.paging import Assembly
from deployd.wire.routing import Count, Depart, Enter, Follow, Stand
from tests.hub.asking import done

if TYPE_CHECKING:
    from tests.hub.rig import Cluster


class FakeRouter(Conversation):
    """``refuses`` makes it fail to save tables; with ``stands`` False it follows them without a word.

    ``heard`` has every transfer as base and items; ``routes``, ``drones``, ``leaving`` and ``retiring`` are what it
    follows; ``busy`` and ``releases`` are what it says of requests under way.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__()
        self.cluster = cluster
        self.name = name
        self.identity = Identity.create()
        self.refuses: Exception | None = None
        self.stands = True
        self.busy: dict[str, int] = {}
        self.releases: dict[str, int] = {}
        self.registry = Revision("registry", 1)
        self.entered: dict[str, Any] = {}
        self.heard: list[tuple[int, tuple[TableItem, ...]]] = []
        self.revision = Revision("", 0)
        self.routes: dict[RouteKey, Setting] = {}
        self.drones: dict[str, str] = {}
        self.leaving: set[str] = set()
        self.retiring: set[str] = set()
        self._assembly: Assembly[TableItem] = Assembly()

    def enter(self) -> None:
        self._assembly = Assembly()
        self.peer = self.cluster.connect("route", self.identity, lambda _: self)
        self.entered = self.ask(Enter, name=self.name)

    def leave(self) -> None:
        """The connection is cut; it goes on serving."""
        self.peer.transport.abortConnection()
        self.cluster.settle()

    def depart(self) -> None:
        self.ask(Depart)

    def ask(self, command: Any, **arguments: Any) -> Any:
        return done(self.peer.ask(command, arguments, 10), self.cluster.settle)

    def stand(self) -> None:
        self.ask(Stand, standing=self._standing())

    def count(self, *tallies: Tally) -> None:
        self.ask(Count, tallies=tallies)

    def shares(self, host: str = "shop.example", path: str = "/") -> dict[str, int]:
        """What it follows for a route."""
        return {share.release: share.weight for share in self.routes[RouteKey(host, path)].shares}

    @responder(Follow)
    def follow(
        self, revision: Revision, base: int, part: int, parts: int, items: tuple[TableItem, ...]
    ) -> dict[str, Any]:
        if self.refuses is not None:
            raise self.refuses
        whole = self._assembly.add(part, parts, items)
        if whole is not None:
            self.heard.append((base, whole))
            assert base in (0, self.revision.number)
            if base == 0:
                self.routes, self.drones = {}, {}
            self.leaving, self.retiring = set(), set()
            for item in whole:
                self._take(item)
            self.revision = revision
            if self.stands:
                self.cluster.clock.callLater(0, self._stand_later)
        return {}

    def _take(self, item: TableItem) -> None:
        if item.route is not None:
            self.routes[item.route.key] = item.route.setting
        elif item.gone is not None:
            del self.routes[item.gone]
        elif item.drone is not None:
            self.drones[item.drone.owner] = item.drone.host
        elif item.lost:
            del self.drones[item.lost]
        elif item.leaving:
            self.leaving.add(item.leaving)
        elif item.retiring is not None:
            self.retiring.add(str(item.retiring))

    def _standing(self) -> Standing:
        return Standing(self.revision, self.registry, dict(self.busy), dict(self.releases))

    def _stand_later(self) -> None:
        if not self.peer.is_closed:
            self.peer.call(Stand, standing=self._standing())
