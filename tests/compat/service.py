"""The real git service on a real reactor, and the real git beside it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attrs import Factory, define
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from deployd.git.access import Action
from deployd.git.limits import GitLimits
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.repositories import Repositories
from deployd.git.web.pushing import Follow, Told
from deployd.git.web.smart_http import GitResource
from deployd.git.work.pool import Pool
from deployd.hub.web import HubSite
from deployd.model.policy import Policy

SECRET = "be:ep/b@op %ü"
TOKEN = "one-token"


class SecretAccess:
    """One secret for everything, one drone token per test, and what is public by its policy."""

    def __init__(self, policies: dict[str, Policy]) -> None:
        self._policies = policies

    def permits(self, user: bytes, password: bytes, app: str, action: Action) -> bool:
        if not password:
            return action is Action.READ and self._policies.get(app, Policy()).public
        if action is Action.FETCH_DEPLOYED:
            return password == TOKEN.encode()
        return password == SECRET.encode()


@define(slots=False)
class Service:
    """A git service at ``url`` with its repositories below ``root``; ``pushes`` is what it told the hub, ``remarks``
    what that has to say of each, ``follow`` what after that; ``cut_off_apps`` had pushes that ended without a word."""

    root: Path
    limits: GitLimits = Factory(lambda: GitLimits(refusal_seconds=0.0))
    pushes: list[tuple[str, list[RefUpdate]]] = Factory(list)
    remarks: list[str] = Factory(list)
    policies: dict[str, Policy] = Factory(dict)
    follow: Follow | None = None
    cut_off_apps: list[str] = Factory(list)

    def start(self) -> None:
        self.repositories = Repositories(self.root / "repositories", self.limits)
        self.repositories.clean()
        self.pool = Pool.of_processes(reactor)
        git = GitResource(
            repositories=self.repositories,
            access=SecretAccess(self.policies),
            reactor=reactor,
            pool=self.pool,
            spool=self.repositories.root,
            host=self,
        )
        self.site = HubSite(git, git, reactor=reactor, spool=self.repositories.root)
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

    async def stop(self) -> None:
        await self.port.stopListening()
        self.site.git.close()
        await self.pool.stop(10.0)

    def policy(self, app: str) -> Policy:
        return self.policies.get(app, Policy())

    async def pushed(self, app: str, receipt: Receipt) -> Told:
        self.pushes.append((app, receipt.updates))
        return Told(self.remarks, self.follow)

    async def cut_off(self, app: str, intent: str) -> None:
        self.cut_off_apps.append(app)

    def readers(self) -> int:
        """How many clients a pack is being sent to."""
        return self.site.git.flights.readers

    def leftovers(self) -> list[str]:
        """Whatever a failed push should not have left on disk."""
        return sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.name.startswith(("tmp", ".new-")) or path.name.endswith(".lock")
        )


@define(slots=False)
class Git:
    """Runs git with a home of its own; ``password`` is what its credential helper answers."""

    home: Path
    password: str = SECRET

    async def __call__(self, directory: Path, *arguments: str, ok: bool = True) -> str:
        """Run git in ``directory``; return what it says. With ``ok`` None any ending will do, else it must agree."""
        out, err, code = await self.run(directory, *arguments)
        assert (code == 0) is ok, f"git {arguments} ended with {code}: {out}{err}"
        return out + err

    def run(self, directory: Path, *arguments: str) -> Deferred[tuple[str, str, int]]:
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
            "LC_ALL": "C",
            "PASSWORD": self.password,
        }
        helper = "credential.helper=!f() { echo username=x; printf 'password=%s\\n' \"$PASSWORD\"; }; f"
        return getProcessOutputAndValue(
            "git", ["-c", helper, "-c", "init.defaultBranch=master", *arguments], env=environment, path=str(directory)
        ).addCallback(
            lambda result: (result[0].decode(errors="replace"), result[1].decode(errors="replace"), result[2])
        )

    async def repository(self, name: str = "work", files: dict[str, str] | None = None) -> Path:
        """A new repository with one commit of ``files``."""
        path = Path(tempfile.mkdtemp(dir=self.home)) / name
        path.mkdir()
        await self(path, "init", "-q")
        await self.commit(path, files or {"Procfile": "http: ./serve\n", "src/app.txt": "one\n"})
        return path

    async def commit(self, path: Path, files: dict[str, str]) -> str:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content)
        await self(path, "add", "-A")
        await self(path, "commit", "-q", "--allow-empty", "-m", "change")
        return (await self(path, "rev-parse", "HEAD")).strip()
