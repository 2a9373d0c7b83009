"""What the tests of the router's table say to it."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.task import Clock

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, ReleaseKey, TableItem
from deployd.router.decision import Decision, Refusal
from deployd.router.table import Table
from deployd.router.target import Target

HOST = "192.0.2.1"
OWNER = "owner of d1"
DRONE = TableItem(drone=DroneHost(OWNER, HOST))


def commit(release: str) -> str:
    """The commit of ``v12``: it begins with 0012."""
    return release.removeprefix("v").rjust(4, "0").ljust(40, "c")


def row(id: str, release: str = "v1", *, port: int = 20000, app: str = "shop", role: str = "http") -> Registration:
    return Registration(id, commit(release), role, HOST, port, app=app, release=release, owner=OWNER)


def route(
    host: str = "shop.example", path: str = "/", app: str = "shop", role: str = "http", /, **more: int
) -> TableItem:
    """``v1=3`` is a share; ``preview``, ``sticky``, ``https`` are what they are called."""
    marks = {name: bool(more.pop(name, 0)) for name in ("preview", "sticky", "https")}
    shares = tuple(Share(release, weight) for release, weight in more.items())
    return TableItem(route=RouteLine(RouteKey(host, path), Setting("shop", "http", shares, **marks)))


def leaving(*ids: str) -> list[TableItem]:
    return [TableItem(leaving=id) for id in ids]


def retiring(*releases: str) -> list[TableItem]:
    return [TableItem(retiring=ReleaseKey("shop", release)) for release in releases]


class Told(Table):
    """A table with a clock, and the next revision of each kind at hand."""

    def __init__(self, *items: TableItem, rows: Iterable[Registration] = (), max_waiters: int = 1000) -> None:
        self.clock = Clock()
        super().__init__(self.clock, max_waiters=max_waiters)
        self.shut: list[Target] = []
        self.closed = self.shut.append
        self.whole(DRONE, *items)
        self.put(*rows)

    def whole(self, *items: TableItem) -> None:
        self.follow(Revision("hub", self.table.number + 1), items, True)

    def delta(self, *items: TableItem) -> None:
        self.follow(Revision("hub", self.table.number + 1), items, False)

    def put(self, *rows: Registration, epoch: str = "registry") -> None:
        self.rows_changed(rows, (), Revision(epoch, self.registry.number + 1))

    def free(self, *ids: str) -> None:
        self.rows_changed((), ids, Revision(self.registry.epoch, self.registry.number + 1))

    def ask(
        self,
        host: str = "shop.example",
        path: str = "/",
        *,
        commit: str = "",
        cookies: bytes = b"",
        point: float = 0.0,
    ) -> Decision | Refusal:
        return self.decide(host.encode(), path.encode(), commit.encode(), cookies, self.clock.seconds(), point)

    def get(self, host: str = "shop.example", path: str = "/", point: float = 0.0) -> Target | None:
        """The target of a request; None if there is no route or no target."""
        decision = self.ask(host, path, point=point)
        return decision.target(self.clock.seconds()) if isinstance(decision, Decision) else None

    def sent(self, host: str = "shop.example", path: str = "/", point: float = 0.0) -> Target:
        """A request on its way to its target."""
        target = self.get(host, path, point)
        assert target is not None
        self.begin(target)
        return target

    def release(self, host: str = "shop.example", path: str = "/", *, commit: str = "") -> str:
        """Where a request goes: a release, or the status of its refusal."""
        decision = self.ask(host, path, commit=commit)
        return decision.release if isinstance(decision, Decision) else str(decision.status)
