"""What a git work tree says about a deploy: its HEAD, and which app of the hub it pushes to. Blocks; asks real git."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

from deployd.errors import UsageError
from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid

GIT_TIMEOUT = 10.0
NAME_THEM = "name the app and the commit: deployctl deploy APP COMMIT"
PORTS = {"http": 80, "https": 443}


@frozen
class GitRemote:
    """One remote at an http(s) URL; what the URL says of user and password is left out."""

    name: str
    address: Address
    path: str

    @classmethod
    def parse(cls, name: str, url: str) -> GitRemote | None:
        """None for a remote that cannot be a hub's."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if parts.scheme not in PORTS or not host:
            return None
        return cls(name, Address(host, port or PORTS[parts.scheme]), parts.path.strip("/").removesuffix(".git"))

    def points_at(self, hub: Address, dialled: str) -> bool:
        """Whether this is the hub whose HTTP address is ``hub``, dialled as ``dialled``."""
        mine = self.address
        if mine.port != hub.port:
            return False
        here = is_loopback(mine.host) and (is_loopback(hub.host) or is_loopback(dialled))
        return here or mine.host in (hub.host, dialled)


@frozen
class WorkTree:
    """``head`` is a full commit id, "" before the first commit."""

    remotes: tuple[GitRemote, ...]
    head: str

    def app(self, hub: str, dialled: str) -> str:
        """The app that this work tree pushes to on the hub with HTTP address ``hub``; raise UsageError."""
        try:
            address = Address.parse(hub)
        except Invalid:
            raise UsageError("the hub does not say where its git is; name the app: deployctl deploy APP") from None
        found = sorted({remote.path for remote in self.remotes if remote.points_at(address, dialled)})
        if not found:
            raise UsageError(
                f"no git remote of this work tree points at the hub's git, http://{address}/APP; "
                "add one with `git remote add`, or name the app: deployctl deploy APP"
            )
        if len(found) > 1:
            raise UsageError(f"git remotes of this work tree point at several apps ({', '.join(found)}); name one")
        return found[0]


def read_work_tree(directory: Path) -> WorkTree:
    """The work tree around ``directory``; raise UsageError where there is none."""
    top = _git(directory, "rev-parse", "--is-inside-work-tree")
    if top != "true":
        raise UsageError(f"this is no git work tree; {NAME_THEM}")
    head = _git(directory, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""
    remotes: list[GitRemote] = []
    for line in (_git(directory, "remote", "-v") or "").splitlines():
        name, _, rest = line.partition("\t")
        remote = GitRemote.parse(name, rest.rpartition(" ")[0])
        if remote is not None and remote not in remotes:
            remotes.append(remote)
    return WorkTree(tuple(remotes), head)


def _git(directory: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=GIT_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError(f"git is not installed here; {NAME_THEM}") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"git did not answer; {NAME_THEM}") from None
    return done.stdout.strip() if done.returncode == 0 else None
