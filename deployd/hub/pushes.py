"""What follows a push: drones may fetch it, the app is known, and the pusher hears whether it can be deployed."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from deployd.errors import UnknownCommit
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.web.pushing import Told
from deployd.hub.commits import Commits
from deployd.hub.fleet import Fleet
from deployd.hub.intents import Intents
from deployd.hub.ledger import Ledger
from deployd.hub.push_deploys import PUSHER, PushDeploys, target
from deployd.model.branches import HEADS, TAGS
from deployd.model.deployd_toml import DEPLOYD_TOML
from deployd.model.desired import Changes, Desired
from deployd.model.faults import MAX_FAULTS
from deployd.model.manifest import Reading
from deployd.model.names import shown
from deployd.model.policy import Policy

MAX_CHECKED = 10
MAX_PREFETCHED = 10
CHECK_SECONDS = 5.0


class Pushes:
    """Told of pushes whose refs have moved already: nothing here can undo one."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        ledger: Ledger,
        fleet: Fleet,
        commits: Commits,
        deploys: PushDeploys,
        intents: Intents,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._fleet = fleet
        self._commits = commits
        self._deploys = deploys
        self._intents = intents

    def policy(self, app: str) -> Policy:
        """What decides whether a push may rewrite or delete something."""
        return self._ledger.desired.policy(app)

    async def pushed(self, app: str, receipt: Receipt) -> Told:
        """Refs of ``app`` have moved: note that, deploy what is to be deployed, and return what the pusher reads."""
        updates = receipt.updates
        branches = [update for update in updates if update.new is not None and update.ref.startswith(HEADS)]
        # Who brings more of them at once brings a history, of which hardly one is deployed next.
        for update in branches[:MAX_PREFETCHED]:
            self._fleet.prefetch(app, update.ref, update.new or "")

        def decide(desired: Desired) -> Changes:
            return Changes(
                apps=() if app in desired.apps else (app,),
                events=tuple(
                    self._ledger.event("push", PUSHER, app, f"{update.ref} {_came(update)}") for update in updates[:100]
                ),
            )

        found, lines = target(self.policy(app), receipt)
        try:
            await self._ledger.change(decide)
            # Before the check: a later push to the same branch must not be deployed before it.
            told = await self._deploys.deploy(app, found, receipt.options, receipt.intent) if found else Told()
        finally:
            await self._intents.forget(app, receipt.intent)
        remarked = await self._checked(app, updates, found)
        return evolve(told, lines=[*arrivals(updates), *remarked, *lines, *told.lines])

    async def cut_off(self, app: str, intent: str) -> None:
        """A push ended without a word: what it asked for goes on if its refs have moved. Raise nothing."""
        await self._intents.go_on(app, intent)

    async def _checked(self, app: str, updates: Sequence[RefUpdate], found: RefUpdate | None) -> list[str]:
        checking = Deferred.fromCoroutine(self._check(app, updates, found)).addTimeout(CHECK_SECONDS, self._clock)
        try:
            return await checking
        except TimeoutError:
            self._log.warn("The check of a push to {app} took too long; its pusher was told nothing.", app=app)
        except Exception:
            self._log.failure("The check of a push to {app} failed.", app=app)
        return []

    async def _check(self, app: str, updates: Sequence[RefUpdate], deployed: RefUpdate | None) -> list[str]:
        """Remarks on each new tip, each commit once; how to deploy is not said of what is being ``deployed``."""
        found: list[str] = []
        checked: set[str] = set()
        tips = [update for update in updates if _is_tip(update)]
        for update in tips[:MAX_CHECKED]:
            try:
                commit = update.new or ""
                if not update.ref.startswith(HEADS):
                    # A tag may be an object of its own, or of something that is no commit.
                    commit = (await self._commits.find(app, update.ref)).commit
                if commit not in checked:
                    checked.add(commit)
                    reading = await self._commits.reading(app, commit)
                    if reading.faults or update is not deployed:
                        found += remarks(app, update.ref, commit, reading)
            except UnknownCommit:
                continue
        if len(tips) > MAX_CHECKED:
            found.append(f"deployd: {len(tips) - MAX_CHECKED} more refs were not checked")
        return found


def arrivals(updates: Sequence[RefUpdate]) -> list[str]:
    """What a push has changed, a line for each ref."""
    lines = [f"deployd: {_arrival(update)}" for update in updates[:MAX_CHECKED]]
    if len(updates) > MAX_CHECKED:
        lines.append(f"deployd: and {len(updates) - MAX_CHECKED} more refs")
    return lines


def _arrival(update: RefUpdate) -> str:
    kind = "branch" if update.ref.startswith(HEADS) else "tag"
    name, old, new = _name(update.ref), (update.old or "")[:7], (update.new or "")[:7]
    if not new:
        return f"{kind} {name} deleted; it was at {old}"
    commits = "" if kind == "tag" else f": {update.commits} new commit{'s' * (update.commits != 1)}"
    if not old:
        return f"new {kind} {name} at {new}{commits}"
    return f"{kind} {name} {old}{'...' if update.forced else '..'}{new}{commits}{' (forced)' * update.forced}"


def _came(update: RefUpdate) -> str:
    return f"{update.new or 'deleted'}{' forced' * update.forced}"


def _name(ref: str) -> str:
    name = ref.removeprefix(HEADS).removeprefix(TAGS)
    return name if name.isprintable() else shown(name)


def remarks(app: str, ref: str, commit: str, reading: Reading) -> list[str]:
    """What to say of one new tip."""
    start = f"deployd: {_name(ref)} {commit[:7]}"
    if not reading.faults:
        said = f"{start}: `deployctl deploy {app} {commit[:7]}` runs it"
        if reading.manifest.roles is None:
            said += ", on drones with a command of their own: it has none in a Procfile or deployd.toml"
        return [said, *_unplayed(start, reading)]
    found = [f"{start}: {fault}" for fault in reading.faults]
    if len(found) >= MAX_FAULTS:
        found.append(f"{start}: there may be more; these are the first {MAX_FAULTS}")
    where = "" if reading.of(DEPLOYD_TOML) else ", but to drones with a command of their own,"
    return [*found, f"{start}: cannot be deployed{where} until this is mended"]


def _unplayed(start: str, reading: Reading) -> list[str]:
    """Roles that may be misspelt: others of the commit have commands, these have none."""
    names = [role.role for role in reading.manifest.settings if role.role and reading.manifest.roles]
    return [f"{start}: no command here for {', '.join(names)}: only drones whose own command plays it"] if names else []


def _is_tip(update: RefUpdate) -> bool:
    created = update.old is None and update.ref.startswith(TAGS)
    return update.new is not None and (created or update.ref.startswith(HEADS))
