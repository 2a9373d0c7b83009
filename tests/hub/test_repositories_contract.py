"""The fake repositories are as the real ones, as far as the hub looks."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.limits import GitLimits
from deployd.git.receiving.reception import receive
from deployd.git.repositories import Repositories
from deployd.testing.repositories import FakeRepositories
from tests.git.forge import ZERO, Objects, push
from tests.hub.repositories_contract import RepositoriesContract


class RealTests(RepositoriesContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.repositories = Repositories(Path(self.mktemp()))
        self.repositories.clean()

    def push(self, app: str, content: bytes, intent: str = "") -> str:
        objects = Objects()
        commit = objects.commit(objects.tree(("100644", b"Procfile", objects.blob(content))))
        self.repositories.create(app)
        commands, options = [("refs/heads/master", ZERO, commit)], (b"deploy",) if intent else None
        request = push(commands, objects.pack(), b"report-status push-options" if intent else b"", options)
        receive(self.repositories.path(app), BytesIO(request), GitLimits(), intent=intent)
        return commit


class FakeTests(RepositoriesContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.repositories = FakeRepositories()

    def push(self, app: str, content: bytes, intent: str = "") -> str:
        return self.repositories.push(app, {"Procfile": content}, intent=intent)
