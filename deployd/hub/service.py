"""The hub: desired state, fleet and git, put together; and what follows when any of it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from deployd import __version__
from deployd.daemon.sealing import Seal
from deployd.hub.chronicle import Chronicle
from deployd.hub.commits import Commits
from deployd.hub.configs import Configs
from deployd.hub.deploys import Deploys
from deployd.hub.enforcement import enforced
from deployd.hub.extras import Extras
from deployd.hub.fitness import Fitness
from deployd.hub.fleet import Fleet
from deployd.hub.instances import Instances
from deployd.hub.intents import Intents
from deployd.hub.ledger import Ledger
from deployd.hub.listing import Listing
from deployd.hub.logs import Logs
from deployd.hub.news import News
from deployd.hub.promotions import Promotions
from deployd.hub.push_deploys import PushDeploys
from deployd.hub.pushes import Pushes
from deployd.hub.retirement import Retirement
from deployd.hub.rollouts import Rollouts
from deployd.hub.route_listing import RouteListing
from deployd.hub.routers import Routers
from deployd.hub.routes import Routes
from deployd.hub.runs import Runs
from deployd.hub.tokens import Tokens
from deployd.hub.upkeep import Upkeep
from deployd.interfaces import HubStore, InThread, Repositories
from deployd.model.desired import Changes
from deployd.net.secret import Secret


@frozen(kw_only=True)
class Means:
    """What the hub works with. ``wall`` gives seconds since 1970; ``advertise`` is "" or the host of drones here."""

    clock: IReactorTime
    store: HubStore
    repositories: Repositories
    in_thread: InThread
    seal: Seal
    wall: Callable[[], float]
    secret: Secret | None = None
    advertise: str = ""


class Hub:
    """``addresses`` are those that peers may need, by name (``amp http registry``); filled in by whoever listens.

    Note [One review for many changes]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Whatever changes, saved or reported, may change what drones are assigned, decide a deploy, end a retirement, change
    what routers follow, and wake those who watch. All of that is looked at in one review, in the reactor's next turn,
    however much changed. Routers come after drones: what a drone is told to end is leaving from then on.
    """

    _log = Logger()

    def __init__(self, means: Means) -> None:
        clock = means.clock
        self.secret = means.secret
        self.addresses: dict[str, str] = {}
        self.ledger = Ledger(means.store, means.wall)
        self.routers = Routers(clock, self.ledger, self._routers_moved)
        self.fleet = Fleet(clock, self.ledger, means.advertise, self._touch, self.routers)
        self.commits = Commits(self.ledger, means.repositories, means.in_thread)
        self.configs = Configs(self.ledger, self.commits, means.seal, means.in_thread)
        self.rollouts = Rollouts(clock, self.ledger, self.fleet)
        self.deploys = Deploys(self.ledger, self.fleet, self.commits, self.rollouts)
        self.retirement = Retirement(self.ledger, self.fleet, self.commits)
        self.instances = Instances(self.ledger, self.fleet)
        self.extras = Extras(self.ledger, self.commits, self.configs)
        self.upkeep = Upkeep(self.ledger, self.fleet, self.commits)
        self.logs = Logs(self.ledger, self.fleet, self.commits)
        self.runs = Runs(self.ledger, self.fleet, self.commits)
        fitness = Fitness(self.fleet)
        self.routes = Routes(self.ledger, self.commits, fitness)
        self.promotions = Promotions(clock, self.ledger, self.commits, fitness)
        routes = RouteListing(self.ledger, fitness, self.routers.tallies)
        self.listing = Listing(self.ledger, self.fleet, self.commits, routes)
        self.chronicle = Chronicle(self.ledger, self.commits)
        self.tokens = Tokens(clock)
        self.news = News(clock)
        deploys = PushDeploys(self.deploys, self.news)
        self.intents = Intents(self.ledger, deploys, means.repositories, means.in_thread)
        self.pushes = Pushes(clock, self.ledger, self.fleet, self.commits, deploys, self.intents)
        self._clock = clock
        self._repositories = means.repositories
        self._in_thread = means.in_thread
        self._reviewing: IDelayedCall | None = None
        self._touched: set[str] = set()
        self._everything = False
        self._closed = False
        self.ledger.changed.append(self._touch_all)

    async def open(self) -> None:
        """Read what is saved and go on with it; raise Refused."""
        await self._in_thread(self._repositories.clean)
        await self.ledger.open()
        self.routers.open()
        self.promotions.open()
        self.news.revision = self.ledger.number().number
        apps = await self._in_thread(self._repositories.apps)
        # A push whose telling was cut off by a kill.
        await self.ledger.change(lambda desired: Changes(apps=tuple(sorted(set(apps) - desired.apps))))
        for app in apps:
            await self.intents.go_on(app)
        self._touch_all()

    async def close(self) -> None:
        """Let what is being saved end; answer nothing more."""
        self._closed = True
        self.fleet.close()
        self.routers.close()
        self.rollouts.close()
        self.promotions.close()
        self.news.close()
        if self._reviewing is not None:
            self._reviewing.cancel()
            self._reviewing = None
        await self.ledger.close()

    def status(self) -> dict[str, Any]:
        """The cluster as one document."""
        desired = self.ledger.desired
        connected = len(self.fleet.connected)
        states = Counter(one.state.value for name in self.fleet.connected for one in self.fleet.seen(name).values())
        return {
            "version": __version__,
            "epoch": self.ledger.epoch,
            "addresses": {name: self.addresses.get(name, "") for name in ("amp", "http", "registry")},
            "apps": len(desired.apps),
            "drones": {"connected": connected, "away": len(desired.drones) - connected},
            "releases": dict(sorted(Counter(each.state.value for each in desired.releases.values()).items())),
            "routers": {"live": len(self.routers.live()), "waiting": len(self.routers.waiting())},
            "routes": len(desired.routes),
            "instances": dict(sorted(states.items())),
            "limits": enforced(drone.description for drone in desired.drones.values()),
        }

    def _touch(self, name: str) -> None:
        """Something changed at a drone; "": anywhere."""
        self._touched.add(name)
        self._everything = self._everything or not name
        self._review_soon()

    def _touch_all(self) -> None:
        self._touch("")

    def _routers_moved(self) -> None:
        """Routers come and go and say much; only where something waits for them it makes a difference."""
        self._touched.update(self.fleet.draining)
        self._review_soon()

    def _review_soon(self) -> None:
        if self._reviewing is None and not self._closed:
            self._reviewing = self._clock.callLater(0, self._review)

    def _review(self) -> None:
        self._reviewing = None
        names = None if self._everything else self._touched
        self._touched, self._everything = set(), False
        self.fleet.plan(names)
        self.rollouts.review(names)
        self.retirement.review()
        self.tell_routers()
        self.promotions.review()
        self.news.bump()

    def tell_routers(self) -> None:
        """Lead all routers to the table as it is now."""
        desired = self.ledger.desired
        self.routers.plan(desired.routes, desired.drones, self.fleet.leaving, self.retirement.retiring)
