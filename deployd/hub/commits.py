"""What people call a commit, looked up: an id or its beginning, branch, tag, ``HEAD``, ``vN``."""

from __future__ import annotations

from attrs import frozen

from deployd.errors import DeploydError, Refused, UnknownApp, UnknownCommit, UsageError
from deployd.hub.deploying import Said
from deployd.hub.fleet import check_command
from deployd.hub.ledger import Ledger
from deployd.interfaces import InThread, Repositories
from deployd.model.desired import Desired
from deployd.model.invalid import Invalid
from deployd.model.manifest import MAX_PROCFILE, Manifest, procfile
from deployd.model.names import app_name, release_number, shown
from deployd.model.release import Release

PROCFILE = "Procfile"


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
        """What the Procfile of a commit says. Raise UnknownApp, UnknownCommit."""
        read: Said = await self._in_thread(read_manifest, self._repositories, app, commit)
        return read

    async def keep(self, app: str, commit: str) -> None:
        """Keep a commit for ever. Raise UnknownApp, UnknownCommit, Refused when the disk does not allow it."""
        try:
            await self._in_thread(self._repositories.keep, app, commit)
        except OSError as error:
            raise Refused(f"cannot keep the commit in the repository of {app}: {error.strerror}") from error

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


def read_manifest(repositories: Repositories, app: str, commit: str) -> Said:
    """The Procfile of a commit (blocking); trouble with it matters only to those who need it."""
    try:
        content = repositories.read_file(app, commit, PROCFILE, MAX_PROCFILE)
        if content is None:
            return Said()
        roles = procfile(content.decode("utf-8-sig"))
        for role in roles:
            check_command(role.argv, f"the command of the Procfile's role {role.role!r}")
        return Said(Manifest(roles))
    except UnicodeDecodeError:
        return Said(problem="the Procfile is not UTF-8")
    except (Invalid, Refused) as error:
        return Said(problem=str(error))


def _heads(repositories: Repositories, apps: list[str]) -> dict[str, str | None]:
    heads: dict[str, str | None] = {}
    for app in apps:
        try:
            heads[app] = repositories.head(app)
        except (DeploydError, OSError):
            heads[app] = None
    return heads
