"""The two that are compared: `git http-backend` behind lighttpd, and a hub; and the git that asks them.

Both ask for a secret, which git sends once it was asked. lighttpd passes on what it has of an answer while the rest is
made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from attrs import define

from tests.e2e.cluster import Cluster
from tests.e2e.waiting import until
from tests.kept_ports import kept_port

SECRET = "bench-secret"
BACKEND = Path("/usr/lib/git-core/git-http-backend")
THEIRS, OURS = "git http-backend", "hub"
_LIGHTTPD = """\
server.modules = ("mod_auth", "mod_authn_file", "mod_alias", "mod_setenv", "mod_cgi")
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{root}/../lighttpd.log"
server.upload-dirs = ("{root}/..")
server.stream-response-body = 1
server.max-connections = 256
alias.url = ("/" => "{backend}/")
cgi.assign = ("" => "")
setenv.set-environment = ("GIT_PROJECT_ROOT" => "{root}", "GIT_HTTP_EXPORT_ALL" => "1", "HOME" => "{root}")
auth.backend = "plain"
auth.backend.plain.userfile = "{root}/../secrets"
auth.require = ("" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))
"""
_SETTINGS = {"gc.auto": "0", "maintenance.auto": "false", "init.defaultBranch": "main", "user.name": "t"}
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(_SETTINGS.values())},
}


def missing() -> list[str]:
    """What must be installed for a comparison and is not."""
    programs = [program for program in ("git", "lighttpd") if shutil.which(program) is None]
    return programs if BACKEND.exists() else [*programs, str(BACKEND)]


def git(*arguments: str, stdin: bytes = b"") -> str:
    """What git says, once it has succeeded."""
    done = subprocess.run(["git", *arguments], env=_ENVIRONMENT, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"git {' '.join(arguments[:4])} ended with {done.returncode}: {done.stderr.decode()[-1000:]}"
        )
    return done.stdout.decode()


def git_processes(commands: list[tuple[str, ...]]) -> None:
    """All of them at once, until each has succeeded."""
    pipe = subprocess.PIPE
    started = [subprocess.Popen(["git", *command], env=_ENVIRONMENT, stderr=pipe) for command in commands]
    said = [process.communicate()[1].decode() for process in started]
    wrong = [text for process, text in zip(started, said, strict=True) if process.returncode]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(commands)} failed: {wrong[0][-300:]}")


@define
class Server:
    """``pid``: that of its first process; ``url``: what the name of an app is put behind; ``root``: where its bare
    repositories are."""

    name: str
    pid: int
    url: str
    root: Path

    def repository(self, app: str) -> Path:
        return self.root / (f"{app}.git" if self.name == OURS else app)

    def make(self, app: str) -> str:
        """The URL of a new app, to push to. A hub makes its repository by itself."""
        if self.name == THEIRS:
            place = str(self.repository(app))
            git("init", "-q", "--bare", place)
            git("-C", place, "config", "http.receivepack", "true")
            git("-C", place, "config", "gc.autoDetach", "false")
        return f"{self.url}/{app}"


@contextmanager
def lighttpd(directory: Path) -> Iterator[Server]:
    """`git http-backend`, a CGI program of lighttpd."""
    root = directory / "repositories"
    root.mkdir(parents=True)
    port = kept_port()
    (directory / "secrets").write_text(f"x:{SECRET}\n")
    config = directory / "lighttpd.conf"
    config.write_text(_LIGHTTPD.format(root=root, port=port, backend=BACKEND))
    with subprocess.Popen(["lighttpd", "-D", "-f", str(config)]) as process:
        try:
            until(lambda: _answers(port), "lighttpd answers")
            yield Server(THEIRS, process.pid, f"http://x:{SECRET}@127.0.0.1:{port}", root)
        finally:
            process.terminate()


@contextmanager
def hub(directory: Path) -> Iterator[Server]:
    """A hub as twistd runs it."""
    directory.mkdir(parents=True)
    cluster = Cluster(directory, SECRET)
    try:
        cluster.start_core()
        process = cluster.hub.process
        assert process is not None
        url = f"http://x:{quote(SECRET)}@{cluster.hub.http}"
        yield Server(OURS, process.pid, url, cluster.hub.state / "repositories")
    finally:
        cluster.close()


def _answers(port: str) -> bool:
    done = subprocess.run(["git", "ls-remote", f"http://127.0.0.1:{port}/x"], capture_output=True, check=False)
    return b"Connection refused" not in done.stderr
