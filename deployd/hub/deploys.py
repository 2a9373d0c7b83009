"""``deploy``: from what a person asks to a release that is saved, and how it stands then."""

from __future__ import annotations

from attrs import evolve, frozen

from deployd.errors import Refused, UnknownCommit, UsageError
from deployd.hub.commits import Commits, named_release
from deployd.hub.deploying import Asked, Decided, decide
from deployd.hub.fleet import Fleet, unknown_drone
from deployd.hub.ledger import Ledger
from deployd.hub.rollouts import Rollouts
from deployd.model.desired import Changes, Desired
from deployd.model.names import app_name, drone_name, label, shown
from deployd.model.release import DroneStatus, Need, Release, ReleaseState, Selector
from deployd.planning.rollout import statuses

# A little less than deployctl waits by itself.
USUAL_TIMEOUT = 118.0
LONGEST_TIMEOUT = 7 * 24 * 3600.0
MAX_NAMES = 10_000


@frozen
class Request:
    """A deploy as it was asked for; nothing of it is checked yet. ``timeout`` 0: the usual one, and patience.

    ``intent`` is the id of one that a push asks for.
    """

    app: str
    commit: str
    drones: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    need: str = "all"
    timeout: float = 120.0
    intent: str = ""


@frozen
class Standing:
    """How the last deploy of a release stands; ``state`` is the release's, or ``failed`` where it fell back.

    ``left`` are the seconds until it is decided at the latest.
    """

    state: str
    reason: str
    need: str
    drones: tuple[DroneStatus, ...]
    left: float


class Deploys:
    def __init__(self, ledger: Ledger, fleet: Fleet, commits: Commits, rollouts: Rollouts) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits
        self._rollouts = rollouts

    async def deploy(self, request: Request, who: str) -> Decided:
        """Save what ``request`` means, and return it.

        Raise Invalid, UsageError, UnknownApp, UnknownCommit, UnknownDrone, or Refused (no drone, no use of the
        Procfile, nothing can be saved).
        """
        app = app_name(request.app)
        need, selector, timeout = Need.parse(request.need), selection(request), deadline(request.timeout)
        found = await self._commits.find(app, request.commit)
        self._check_drones(selector)
        config = self._ledger.desired.config(app)
        asked = Asked(
            app=app,
            commit=found.commit,
            release=found.release.name if found.release else "",
            selector=selector,
            need=need,
            timeout=timeout or USUAL_TIMEOUT,
            patient=not timeout,
            said=await self._commits.said(app, found.commit),
            config=config.number if config else 0,
            intent=request.intent,
        )
        # A refusal must leave nothing behind; and a release that is saved must never lose its commit.
        self._decide(self._ledger.desired, asked)
        await self._commits.keep(app, found.commit)
        decided: list[Decided] = []

        def change(desired: Desired) -> Changes:
            self._check_drones(selector)
            decided.append(self._decide(desired, asked))
            if decided[0].changed:
                self._rollouts.extend(decided[0].release, decided[0].fresh)
            return self._told(decided[0], who)

        await self._ledger.change(change)
        if decided[0].changed:
            self._rollouts.begin(decided[0].release, decided[0].fresh)
        return decided[0]

    def standing(self, app: str, release: str) -> Standing:
        """How ``release`` (``v12``) stands; raise UnknownCommit."""
        desired = self._ledger.desired
        found = named_release(desired, app_name(app), release)
        if found is None:
            raise UnknownCommit(f"{app} has no release {shown(release)}")
        fell_back = found.state is ReleaseState.DEPLOYED and found.reason != ""
        state = "failed" if fell_back else found.state.value
        rows, left = self._rows(desired, found, fell_back), self._rollouts.left(found)
        return Standing(state, found.reason, found.need.text, rows, left)

    def _rows(self, desired: Desired, release: Release, fell_back: bool) -> tuple[DroneStatus, ...]:
        if fell_back or release.state is ReleaseState.FAILED:
            return release.outcome
        return statuses(desired, release, self._fleet.views()) if release.state.wanted else ()

    def _decide(self, desired: Desired, asked: Asked) -> Decided:
        return decide(desired, asked, self._fleet.views(), self._ledger.now())

    def _check_drones(self, selector: Selector) -> None:
        for name in sorted(selector.names):
            if name not in self._ledger.desired.drones:
                raise unknown_drone(name)
            if self._ledger.desired.drones[name].draining:
                raise Refused(
                    f"{name} is being emptied, so nothing is deployed there; `deployctl undrain {name}` first"
                )

    def _told(self, decided: Decided, who: str) -> Changes:
        """The decided changes with their event, and the app, which an early hub may have missed."""
        if not decided.changed:
            return decided.changes
        release = decided.release
        event = self._ledger.event("deploy", who, release.app, f"{release.name} {release.commit}")
        return evolve(decided.changes, apps=(release.app,), events=(event,))


def selection(request: Request) -> Selector:
    """Which drones a deploy asks for: all, unless it names some. Raise Invalid, UsageError."""
    if max(len(request.drones), len(request.where)) > MAX_NAMES:
        raise UsageError(f"at most {MAX_NAMES} drones and labels can be named")
    names = frozenset(drone_name(name) for name in request.drones)
    pairs = tuple(sorted({label(pair) for pair in request.where}))
    return Selector(not names and not pairs, names, (pairs,) if pairs else ())


def deadline(timeout: float) -> float:
    """A number of seconds; raise UsageError. NaN is none."""
    if not timeout >= 0:
        raise UsageError("the timeout is a number of seconds, or 0 for the usual one")
    return min(timeout, LONGEST_TIMEOUT)
