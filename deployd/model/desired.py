"""Everything that the hub wants and must still know after a kill, as one value."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from attrs import field, frozen

from deployd.model.config import Config
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.policy import AppPolicy, Policy
from deployd.model.release import Release, ReleaseState
from deployd.model.route import Route, RouteKey
from deployd.model.router import KnownRouter

Key = tuple[str, int]
"""A release's app and number."""

K = TypeVar("K")
V = TypeVar("V")


@frozen
class KnownDrone:
    """A drone that joined once and was not forgotten. ``address`` is the host of its rows.

    ``draining``: somebody empties the machine; nothing is wanted there until that is taken back.
    """

    description: DroneDescription
    address: str
    draining: bool = False

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def owner(self) -> str:
        return self.description.owner


@frozen
class Order:
    """What people ordered of one instance.

    ``restarts`` counts the fresh starts that were asked for, stops included; ``orphan`` says that no release of this
    hub has the instance: such an order can only be to stop it.
    """

    id: str
    app: str
    release: str
    stopped: bool = False
    restarts: int = 0
    orphan: bool = False


@frozen
class Event:
    """Something that changed: ``when`` in seconds since 1970, ``who`` asked for it (``program@host``).

    ``number`` is the store's, which grows with every event; 0: it is not saved yet.
    """

    when: float
    what: str
    who: str
    app: str = ""
    detail: str = ""
    number: int = field(default=0, eq=False)


@frozen
class Changes:
    """One step of the desired state; saved whole or not at all.

    ``events`` tell of it; ``ended`` names extras, ``outdated`` configs.
    """

    apps: tuple[str, ...] = ()
    drones: tuple[KnownDrone, ...] = ()
    forgotten: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()
    orders: tuple[Order, ...] = ()
    dropped: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    unrouted: tuple[RouteKey, ...] = ()
    policies: tuple[AppPolicy, ...] = ()
    routers: tuple[KnownRouter, ...] = ()
    departed: tuple[str, ...] = ()
    configs: tuple[Config, ...] = ()
    outdated: tuple[Key, ...] = ()
    extras: tuple[Extra, ...] = ()
    ended: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


@frozen(slots=False)
class Desired:
    """``drones`` by name, ``orders`` by instance id, ``routers`` by id, ``configs`` by app and number, ``extras`` by
    name; ``apps`` are those that were pushed."""

    apps: frozenset[str] = frozenset()
    drones: dict[str, KnownDrone] = field(factory=dict, hash=False)
    releases: dict[Key, Release] = field(factory=dict, hash=False)
    orders: dict[str, Order] = field(factory=dict, hash=False)
    routes: dict[RouteKey, Route] = field(factory=dict, hash=False)
    policies: dict[str, Policy] = field(factory=dict, hash=False)
    routers: dict[str, KnownRouter] = field(factory=dict, hash=False)
    configs: dict[Key, Config] = field(factory=dict, hash=False)
    extras: dict[str, Extra] = field(factory=dict, hash=False)

    def after(self, changes: Changes) -> Desired:
        """This state with ``changes`` made: first what goes, then what comes."""
        gone, dropped = set(changes.forgotten), set(changes.dropped)
        drones = {name: drone for name, drone in self.drones.items() if name not in gone}
        orders = {id: order for id, order in self.orders.items() if id not in dropped}
        return Desired(
            self.apps | frozenset(changes.apps),
            drones | {drone.name: drone for drone in changes.drones},
            self.releases | {release.key: release for release in changes.releases},
            orders | {order.id: order for order in changes.orders},
            _changed(self.routes, changes.unrouted, {route.key: route for route in changes.routes}),
            _changed(self.policies, (), {each.app: each.policy for each in changes.policies}),
            _changed(self.routers, changes.departed, {router.id: router for router in changes.routers}),
            _changed(self.configs, changes.outdated, {config.key: config for config in changes.configs}),
            _changed(self.extras, changes.ended, {extra.name: extra for extra in changes.extras}),
        )

    def policy(self, app: str) -> Policy:
        return self.policies.get(app, Policy())

    def config(self, app: str) -> Config | None:
        """The newest revision of the config of ``app``."""
        numbers = [number for name, number in self.configs if name == app]
        return self.configs[app, max(numbers)] if numbers else None

    @cached_property
    def wanted(self) -> tuple[Release, ...]:
        """The releases that drones should run, in the order of their apps and numbers."""
        return self.in_state(ReleaseState.DEPLOYING, ReleaseState.DEPLOYED)

    @cached_property
    def deploying(self) -> tuple[Release, ...]:
        return self.in_state(ReleaseState.DEPLOYING)

    @cached_property
    def retiring(self) -> tuple[Release, ...]:
        return self.in_state(ReleaseState.RETIRING)

    @cached_property
    def extras_by_release(self) -> dict[Key, tuple[Extra, ...]]:
        """The extras of each release that has some, by name."""
        found: dict[Key, list[Extra]] = {}
        for _, extra in sorted(self.extras.items()):
            found.setdefault((extra.app, extra.number), []).append(extra)
        return {key: tuple(extras) for key, extras in found.items()}

    def in_state(self, *states: ReleaseState) -> tuple[Release, ...]:
        return _sorted(release for release in self.releases.values() if release.state in states)

    def releases_of(self, app: str) -> tuple[Release, ...]:
        """All releases of ``app``, oldest first."""
        return _sorted(release for release in self.releases.values() if release.app == app)

    def newest(self, app: str, commit: str) -> Release | None:
        """The newest release of ``commit``; what a commit means wherever a release is asked for."""
        found = [release for release in self.releases_of(app) if release.commit == commit]
        return found[-1] if found else None

    def orders_of(self, release: Release) -> tuple[Order, ...]:
        return tuple(o for o in self.orders.values() if (o.app, o.release) == (release.app, release.name))


def _changed(before: dict[K, V], gone: Iterable[K], new: dict[K, V]) -> dict[K, V]:
    """``before`` itself where nothing changes: ten thousand routes are not copied for each report that is saved."""
    dropped = [key for key in gone if key in before]
    if not dropped and not new:
        return before
    # A whole copy asks no key for its hash.
    after = dict(before)
    for key in dropped:
        after.pop(key, None)
    after.update(new)
    return after


def _sorted(releases: Iterable[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: release.key))
