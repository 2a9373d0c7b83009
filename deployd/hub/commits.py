"""What people call a commit, looked up: an id or its beginning, branch, tag, ``HEAD``, ``vN``."""

from __future__ import annotations

from attrs import frozen

from deployd.errors import DeploydError, Refused, UnknownApp, UnknownCommit, UsageError
from deployd.hub.deploying import Said
from deployd.hub.ledger import Ledger
from deployd.hub.reading import read
from deployd.interfaces import InThread, Repositories
from deployd.model.deployd_toml import DEPLOYD_TOML
from deployd.model.desired import Desired
from deployd.model.faults import summary
from deployd.model.manifest import Reading
from deployd.model.names import app_name, release_number, shown
from deployd.model.release import Release


@frozen
class Found:
    """A commit's full id; ``release`` is the one that was named itself, if one was."""

    commit: str
    release: Release | None = None


class Commits:
    """Looks into the repositories, in threads."""

    def __init__(self, ledger: Ledger, repositories: Repositories, in_thread: InThread) -> None:
        self._ledger = ledger
        self._repositories = repositories
        self._in_thread = in_thread

    async def find(self, app: str, text: str) -> Found:
        """What ``text`` names in ``app``. Raise Invalid, UnknownApp, UnknownCommit."""
        if not text:
            raise UsageError("a commit is needed: an id, a branch, a tag, or vN")
        release = named_release(self._ledger.desired, app_name(app), text)
        if release is not None:
            return Found(release.commit, release)
        try:
            return Found(await self._in_thread(self._repositories.resolve, app, text))
        except UnknownCommit:
            if release_number(text) is None:
                raise
            raise UnknownCommit(f"{app} has no release {text}; `deployctl releases {app}` lists them") from None

    async def release(self, app: str, text: str) -> Release:
        """The release that ``text`` names; of a commit the newest. Raise Invalid, UnknownApp, UnknownCommit."""
        found = await self.find(app, text)
        release = found.release or self._ledger.desired.newest(app, found.commit)
        if release is None:
            raise UnknownCommit(f"{app} has no release of commit {found.commit[:7]}; deploy it first")
        return release

    async def said(self, app: str, commit: str) -> Said:
        """What a commit says of what to run. Raise UnknownApp, UnknownCommit, Refused for a wrong ``deployd.toml``.

        A Procfile that is wrong matters only to drones without a command of their own.
        """
        reading = await self.reading(app, commit)
        if reading.of(DEPLOYD_TOML):
            raise Refused(summary(reading.faults))
        return Said(reading.manifest, summary(reading.faults))

    async def reading(self, app: str, commit: str) -> Reading:
        """What the files of a commit say, and what is wrong with them. Raise UnknownApp, UnknownCommit."""
        found: Reading = await self._in_thread(read, self._repositories, app, commit)
        return found

    async def keep(self, app: str, commit: str) -> None:
        """Keep a commit for ever. Raise UnknownApp, UnknownCommit, Refused when the disk does not allow it."""
        try:
            await self._in_thread(self._repositories.keep, app, commit)
        except OSError as error:
            raise Refused(f"cannot keep the commit in the repository of {app}: {error.strerror}") from error

    async def set_head(self, app: str, branch: str) -> None:
        """Make ``branch`` the default one. Raise UnknownApp, UnknownCommit, Refused when the disk does not allow it."""
        try:
            await self._in_thread(self._repositories.set_head, app, branch)
        except OSError as error:
            raise Refused(f"cannot change the default branch of {app}: {error.strerror}") from error

    async def check_app(self, app: str) -> None:
        """Raise UnknownApp unless ``app`` was pushed, Invalid when it is no app name."""
        app_name(app)
        if app not in self._ledger.desired.apps and not await self._in_thread(self._repositories.exists, app):
            raise UnknownApp(f"there is no app {shown(app)} on the hub; `git push` creates it")

    async def heads(self, apps: list[str]) -> dict[str, str | None]:
        """The commit at the tip of each app's default branch; None where there is none."""
        found: dict[str, str | None] = await self._in_thread(_heads, self._repositories, apps)
        return found


def named_release(desired: Desired, app: str, text: str) -> Release | None:
    """The release called ``text`` (``v12``), if it is the name of one; a tag may be called so too."""
    number = release_number(text)
    return None if number is None else desired.releases.get((app, number))


def _heads(repositories: Repositories, apps: list[str]) -> dict[str, str | None]:
    heads: dict[str, str | None] = {}
    for app in apps:
        try:
            heads[app] = repositories.head(app)
        except (DeploydError, OSError):
            heads[app] = None
    return heads
