"""Repositories in memory; passes the suite that the real ones pass (tests/hub/repositories_contract.py)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1

from attrs import Factory, define

from deployd.errors import Refused, UnknownApp, UnknownCommit
from deployd.model.intent import Intent
from deployd.model.names import app_name, is_commit, shown


@define
class _Repository:
    refs: dict[str, str] = Factory(dict)
    commits: dict[str, dict[str, bytes]] = Factory(dict)
    kept: set[str] = Factory(set)
    head: str = "refs/heads/master"
    intents: list[Intent] = Factory(list)


class FakeRepositories:
    """``push`` stands for git. ``full`` makes ``keep`` fail, as a full disk does, ``stuck`` makes ``forget`` fail."""

    def __init__(self) -> None:
        self.full = self.stuck = False
        self._all: dict[str, _Repository] = {}

    def push(
        self,
        app: str,
        files: dict[str, bytes] | None = None,
        ref: str = "refs/heads/master",
        intent: str = "",
        options: Sequence[str] = ("deploy",),
    ) -> str:
        """A new commit with ``files`` at the tip of ``ref``; return its id. ``intent``: the id of what it asks for."""
        repository = self._all.setdefault(app_name(app), _Repository())
        parent = repository.refs.get(ref, "")
        content = repr((app, parent, ref, len(repository.commits), sorted((files or {}).items())))
        commit = sha1(content.encode()).hexdigest()
        repository.commits[commit] = dict(files or {})
        repository.refs[ref] = commit
        if intent:
            repository.intents.append(Intent(intent, ref, parent or None, commit, options))
        return commit

    def kept(self, app: str) -> set[str]:
        return self._known(app).kept

    def apps(self) -> list[str]:
        return sorted(self._all)

    def exists(self, app: str) -> bool:
        return app_name(app) in self._all

    def head(self, app: str) -> str | None:
        repository = self._known(app)
        return repository.refs.get(repository.head)

    def set_head(self, app: str, branch: str) -> None:
        repository = self._known(app)
        if f"refs/heads/{branch}" not in repository.refs:
            raise UnknownCommit(f"{app} has no branch {shown(branch)}; push it first")
        repository.head = f"refs/heads/{branch}"

    def resolve(self, app: str, text: str) -> str:
        repository = self._known(app)
        name = repository.head if text == "HEAD" else text
        for ref in (name, f"refs/{name}", f"refs/tags/{name}", f"refs/heads/{name}"):
            if ref in repository.refs:
                return repository.refs[ref]
        found = [commit for commit in repository.commits if len(text) >= 4 and commit.startswith(text.lower())]
        if len(found) > 1:
            raise UnknownCommit(f"{len(found)} commits of {app} begin with {text}; give more of its id")
        if not found:
            raise UnknownCommit(f"{app} has no commit, branch or tag {shown(text)}; push it first")
        return found[0]

    def keep(self, app: str, commit: str) -> None:
        repository = self._known(app)
        if not is_commit(commit) or commit not in repository.commits:
            raise UnknownCommit(f"{app} has no commit {shown(commit)}; push it first")
        if self.full:
            raise OSError(28, "No space left on device")
        repository.kept.add(commit)

    def read_file(self, app: str, commit: str, name: str, limit: int) -> bytes | None:
        content = self._known(app).commits.get(commit, {}).get(name)
        if content is not None and len(content) > limit:
            raise Refused(f"{shown(name)} in commit {commit[:12]} has {len(content)} bytes; the limit is {limit}")
        return content

    def absent(self, app: str, commit: str, names: Sequence[str]) -> list[str]:
        files = self._known(app).commits.get(commit, {})
        return [name for name in names if name not in files]

    def intents(self, app: str, id: str = "*") -> list[Intent]:
        repository = self._all.get(app, _Repository())
        return [intent for intent in repository.intents if id in ("*", intent.id)]

    def forget(self, app: str, id: str) -> None:
        if self.stuck:
            raise OSError(5, "Input/output error")
        repository = self._known(app)
        repository.intents = [intent for intent in repository.intents if intent.id != id]

    def clean(self) -> None:
        """Nothing is ever left behind here."""

    def _known(self, app: str) -> _Repository:
        if not self.exists(app):
            raise UnknownApp(f"there is no app {shown(app)} on the hub; `git push` creates it")
        return self._all[app]
