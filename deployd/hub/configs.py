"""The environments of apps: revision after revision, sealed, and opened only for who may have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen
from twisted.internet.defer import DeferredLock

from deployd.daemon.sealing import Seal, Unreadable
from deployd.errors import PermissionRefused, Refused, UnknownCommit, UsageError
from deployd.hub.commits import Commits, named_release
from deployd.hub.ledger import Ledger
from deployd.interfaces import InThread
from deployd.model.config import Config
from deployd.model.desired import Changes, Desired
from deployd.model.extra import Extra
from deployd.model.names import app_name, shown
from deployd.model.release import Release
from deployd.model.variables import OF_CONFIG, OF_ROLE, variable_name, variables
from deployd.planning.placement import Seen, concerns
from deployd.wire.documents import dump, load

Values = Mapping[str, str]

SPARE = 20


@frozen
class Setting:
    """A config as people see it after they set something."""

    number: int
    names: tuple[str, ...]
    changed: bool


class Configs:
    """``seal`` blocks, so it is used in threads.

    Note [A revision for each change]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
    Whatever changes the values of an app makes a new revision, also one that brings back what an earlier one had: the
    newest number is then always what is deployed next, and the numbers tell in which order things were tried. Kept are
    those that a release has, and the newest few: a deploy that is under way may be about to take one of them.
    """

    def __init__(self, ledger: Ledger, commits: Commits, seal: Seal, in_thread: InThread) -> None:
        self._ledger = ledger
        self._commits = commits
        self._seal = seal
        self._in_thread = in_thread
        # Opening and sealing take a while; two changes at once must not lose one of them.
        self._lock = DeferredLock()

    # For people.

    async def set(self, app: str, values: Values, unset: Collection[str], who: str) -> Setting:
        """Save what they make of an app's config. Raise Invalid, UsageError, UnknownApp, Refused."""
        variables(values, OF_CONFIG)
        for name in unset:
            variable_name(name)
        if not values and not unset:
            raise UsageError("nothing to set: write NAME=VALUE")
        if set(unset) & set(values):
            raise UsageError(f"{min(set(unset) & set(values))} cannot be set and unset at once")
        await self._commits.check_app(app)
        await self._lock.acquire()
        try:
            return await self._set(app, values, unset, who)
        finally:
            self._lock.release()

    async def _set(self, app: str, values: Values, unset: Collection[str], who: str) -> Setting:
        now = self._ledger.desired.config(app) or Config(app, 0, (), "")
        old = await self._left(now, values, unset)
        new = variables({name: value for name, value in {**old, **values}.items() if name not in unset}, OF_CONFIG)
        if new == old and now.names == tuple(new):
            return Setting(now.number, now.names, changed=False)
        config = Config(app, now.number + 1, tuple(new), await self._sealed(new))
        detail = f"revision {config.number}: {_changes(now.names, old, new)}"
        event = self._ledger.event("config set", who, app, detail)
        await self._ledger.change(
            lambda desired: Changes(configs=(config,), outdated=_outdated(desired, config), events=(event,))
        )
        return Setting(config.number, config.names, changed=True)

    async def _left(self, now: Config, values: Values, unset: Collection[str]) -> dict[str, str]:
        """What ``now`` has. Where its key is lost, nothing: all of it is set or unset anew."""
        try:
            return await self._opened(now)
        except Refused:
            if set(now.names) <= {*values, *unset}:
                return {}
            raise

    async def get(self, app: str, commit: str) -> tuple[int, dict[str, str]]:
        """Number and values of the newest config, or of the release ``commit``. Raise as Commits.release, Refused."""
        if commit:
            release = await self._commits.release(app_name(app), commit)
            return release.config, await self._opened(_of(self._ledger.desired, release))
        await self._commits.check_app(app)
        config = self._ledger.desired.config(app)
        return (config.number, await self._opened(config)) if config else (0, {})

    # For drones.

    async def of_release(self, drone: str, seen: Seen, key: tuple[str, str, str], extra: str) -> dict[str, str]:
        """The environment of a release (app, name, commit) and of an ``extra`` above it, for a drone that reports
        ``seen``. Raise UnknownCommit, PermissionRefused, Refused."""
        desired, (app, name, commit) = self._ledger.desired, key
        release = named_release(desired, app_name(app), name)
        if release is None or release.commit != commit:
            raise UnknownCommit(f"this hub has no release {shown(name)} of {app} at that commit")
        if not may_have(desired, drone, seen, release):
            raise PermissionRefused(f"{drone} is not to run {app} {name}")
        values = await self._opened(_of(desired, release))
        if extra:
            added = _extra(desired, drone, release, extra)
            if added.sealed:
                values |= await self._read(added.sealed, f"the environment of {extra}")
        return values

    # Sealing.

    async def sealed(self, values: Values) -> str:
        """The environment of an extra as it may be saved, "" for none. Raise Invalid, Refused."""
        return await self._sealed(variables(values, OF_ROLE))

    async def _sealed(self, values: Values) -> str:
        if not values:
            return ""
        # Where something is sealed already, a new key would hide that the right one is lost.
        desired = self._ledger.desired
        known = [one.sealed for one in desired.configs.values()] + [one.sealed for one in desired.extras.values()]
        try:
            return str(await self._in_thread(self._seal.seal, dump(dict(values)), not any(known)))
        except Refused as error:
            raise Refused(f"a config cannot be sealed: {error}") from None

    async def _opened(self, config: Config) -> dict[str, str]:
        return await self._read(config.sealed, f"revision {config.number} of the config of {config.app}")

    async def _read(self, sealed: str, what: str) -> dict[str, str]:
        if not sealed:
            return {}
        try:
            return dict(load(await self._in_thread(self._seal.unseal, sealed)))
        except Unreadable:
            raise Refused(f"{what} was sealed with another key than the hub has; put that one back") from None
        except Refused as error:
            raise Refused(f"{what} cannot be read: {error}") from None


def may_have(desired: Desired, drone: str, seen: Seen, release: Release) -> bool:
    """Whether a drone is to know what ``release`` knows: it is chosen for it, or was and still runs it."""
    known = desired.drones.get(drone)
    if known is None or not concerns(release.app, known.description):
        return False
    if not release.selector.selects(drone, known.description.labels):
        return False
    if release.state.wanted and not known.draining:
        return True
    its = (one for one in seen.values() if (one.app, one.release) == (release.app, release.name))
    return any(not one.state.over for one in its)


def _of(desired: Desired, release: Release) -> Config:
    """The config of a release; an empty one for the number 0."""
    if release.config and (release.app, release.config) not in desired.configs:
        raise Refused(f"revision {release.config} of the config of {release.app} is not there any more; deploy again")
    return desired.configs.get((release.app, release.config), Config(release.app, 0, (), ""))


def _outdated(desired: Desired, newest: Config) -> tuple[tuple[str, int], ...]:
    """The revisions that go when ``newest`` comes."""
    used = {release.config for release in desired.releases_of(newest.app)}
    numbers = [number for app, number in desired.configs if app == newest.app and number not in used]
    return tuple((newest.app, number) for number in numbers if number <= newest.number - SPARE)


def _extra(desired: Desired, drone: str, release: Release, name: str) -> Extra:
    extra = desired.extras.get(name)
    its = extra is not None and (extra.app, extra.number) == release.key
    if extra is None or not its or (extra.drones and drone not in extra.drones):
        raise PermissionRefused(f"{drone} is not to run {shown(name)} of {release.app} {release.name}")
    return extra


def _changes(names: Collection[str], old: Values, new: Values) -> str:
    """``+DATABASE_URL -OLD``: what became different, and what is gone of ``names``. Never a value."""
    words = [f"+{name}" for name, value in new.items() if old.get(name) != value]
    return " ".join(words + [f"-{name}" for name in names if name not in new])
