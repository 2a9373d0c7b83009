"""A real cluster on loopback: twistd daemons, git and deployctl as processes, all in one temporary directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.e2e.waiting import until
from tests.kept_ports import kept_port

SECRET = "beep boop:/%@ ключ"
BIN = Path(sys.executable).parent
PYTHON_ENVIRONMENT = {"PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
EXAMPLES = Path(__file__).parents[2] / "examples"
COMMAND_DEADLINE = 60
GOODBYE = 15.0


class Daemon:
    """One twistd process, its log and its state directory; started again it is the same daemon."""

    def __init__(self, kind: str, state: Path, arguments: list[str], prefix: list[str], secret: str | None) -> None:
        self.kind = kind
        self.state = state
        self.log = state.with_suffix(".log")
        self._arguments = arguments
        self._prefix = prefix
        self._environment = PYTHON_ENVIRONMENT | ({"DEPLOYD_SECRET": secret} if secret is not None else {})
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the process; do not wait until it is ready."""
        twistd = [str(BIN / "twistd"), "-n", "--pidfile=", f"deployd-{self.kind}", "--state-dir", str(self.state)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, *twistd, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.state.parent,
                env=self._environment,
            )

    def start(self) -> Daemon:
        self.launch()
        return self.wait()

    def wait(self) -> Daemon:
        """Until it is ready."""
        until(self._ready, f"{self.kind} is ready; its log: {self.log}")
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"{self.kind} ended with {self.process.returncode}:\n{self.text()}")
        return self.addresses().get("pid") == self._daemon_pid()

    def _daemon_pid(self) -> int:
        """A prefix like `ip netns exec` execs, so the pid is the one that was started."""
        assert self.process is not None
        return self.process.pid

    def addresses(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.state / "addresses.json").read_text()))
        except FileNotFoundError:
            return {}

    @property
    def amp(self) -> str:
        return str(self.addresses()["amp"])

    @property
    def http(self) -> str:
        return str(self.addresses()["http"])

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self, deadline: float = 30) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM, deadline)

    def _end(self, number: int, deadline: float = 30) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(deadline)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Cluster:
    """Registry, hub and drones by name, and the person's commands against them."""

    def __init__(self, directory: Path, secret: str | None = SECRET) -> None:
        self.directory = directory
        self.secret = secret
        self.client_prefix: list[str] = []
        self.daemons: dict[str, Daemon] = {}

    # Daemons.

    def daemon(self, name: str, kind: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Daemon:
        self.daemons[name] = Daemon(kind, self.directory / name, list(arguments), list(prefix), self.secret)
        return self.daemons[name]

    def start_core(self, *registry_options: str) -> None:
        """The ports stay the same over restarts, so that a daemon is found again."""
        here = ("--interface", "127.0.0.1")
        ports = ("--port", kept_port(), "--http-port", kept_port())
        self.daemon("registry", "registry", *ports, *here, *registry_options).start()
        ports = ("--port", kept_port(), "--git-port", kept_port())
        self.daemon("hub", "hub", *ports, *here, "--registry", self.registry.amp).start()

    def start_drone(self, name: str, *arguments: str) -> Daemon:
        return self.daemon(name, "drone", "--hub", self.hub.amp, "--name", name, *arguments).start()

    def launch_router(self, name: str, *arguments: str) -> Daemon:
        """A router that is ready once it has a table; its ports are free ones, and stay the same over restarts."""
        ports = ("--port", kept_port(), "--admin-port", kept_port())
        own = ("--name", name, "--interface", "127.0.0.1", *ports)
        router = self.daemon(name, "router", "--hub", self.hub.amp, *own, *arguments)
        router.launch()
        return router

    def start_router(self, name: str, *arguments: str) -> Daemon:
        router = self.launch_router(name, *arguments)
        router.wait()
        return router

    @property
    def registry(self) -> Daemon:
        return self.daemons["registry"]

    @property
    def hub(self) -> Daemon:
        return self.daemons["hub"]

    def close(self) -> None:
        """Stop everything, routers and drones first; then nothing may be left that was started here."""
        kinds = ["router", "drone", "hub", "registry"]
        order = sorted(self.daemons.values(), key=lambda daemon: kinds.index(daemon.kind))
        for daemon in order:
            if daemon.running:
                daemon.stop()
        self.reap()
        # A keeper ends a moment after its drone.
        with suppress(AssertionError):
            until(lambda: not self.keepers(), "all keepers have ended", GOODBYE)
        left = self.processes() + self.keepers()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"left running: {left}"

    def reap(self) -> None:
        """End what killed drones left running; a test that kills a drone for good says so by calling this.

        And the keepers of those that left their apps: what ends those is the test's.
        """
        for name, daemon in self.daemons.items():
            if "keep" in daemon._arguments and not daemon.running:
                end_all(self.keepers(name))
            if daemon.kind == "drone" and daemon.process is not None and daemon.process.returncode == -signal.SIGKILL:
                end_all(self.keepers(name) + self.processes(name))

    def processes(self, drone: str = "") -> list[int]:
        """The pids of apps: processes that work in a checkout below this directory."""
        place = str(self.directory / drone)
        return [pid for pid in _pids() if _cwd(pid).startswith(place + "/") and "/checkouts/" in _cwd(pid)]

    def keepers(self, drone: str = "") -> list[int]:
        """The pids of the keepers of drones below this directory."""
        place = self.directory / drone
        return [pid for pid in _pids() for word in _keeper_words(pid) if Path(word).is_relative_to(place)]

    # A person's commands.

    def deployctl(
        self, *arguments: str, secret: str | None = None, code: int | None = 0, cwd: Path | None = None
    ) -> str:
        """stdout of one deployctl; ``code`` is the exit code that is expected (None: any)."""
        done = self.run_deployctl(*arguments, secret=secret, cwd=cwd)
        assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def run_deployctl(
        self, *arguments: str, secret: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.client_prefix, str(BIN / "deployctl"), *arguments],
            env=self.deployctl_environment(secret),
            cwd=cwd or self.directory,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE * 3,
            check=False,
        )

    def deployctl_environment(self, secret: str | None = None) -> dict[str, str]:
        known = secret if secret is not None else self.secret
        environment = PYTHON_ENVIRONMENT | {"DEPLOYD_HUB": self.hub.amp if self.hub.addresses() else "127.0.0.1:1"}
        return environment | ({"DEPLOYD_SECRET": known} if known is not None else {})

    def json(self, *arguments: str) -> Any:
        return json.loads(self.deployctl("--json", *arguments))

    def ports(self) -> dict[str, Any]:
        """What `deployctl ports` says; where anybody may read it over HTTP that is asked, as it needs no process."""
        if self.client_prefix or "--private" in self.registry._arguments:
            return dict(self.json("ports"))
        status, body = get(self.registry.http, "/v1/ports")
        assert status == 200, body
        return dict(json.loads(body))

    def repository(self, name: str, files: dict[str, str]) -> Repository:
        return Repository(self, self.directory / "work" / name, files)

    def git_url(self, app: str, password: str | None = None) -> str:
        known = password if password is not None else self.secret
        login = f"x:{quote(known, safe='')}@" if known else ""
        return f"http://{login}{self.hub.http}/{app}"


class Repository:
    """A work tree with a real git."""

    def __init__(self, cluster: Cluster, path: Path, files: dict[str, str]) -> None:
        self._cluster = cluster
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "master")
        self.commit(files)

    def git(self, *arguments: str, code: int | None = 0) -> str:
        done = self.run_git(*arguments)
        assert code is None or done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout.strip()

    def run_git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        identity = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example", "GIT_COMMITTER_NAME": "t"}
        environment = PYTHON_ENVIRONMENT | identity | {"GIT_COMMITTER_EMAIL": "t@example", "GIT_TERMINAL_PROMPT": "0"}
        environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            [*self._cluster.client_prefix, "git", *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE,
            check=False,
        )

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        """Write and commit ``files``; the commit's id."""
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def push(self, app: str, ref: str = "master", code: int | None = 0) -> str:
        return self.git("push", self._cluster.git_url(app), ref, code=code)


def get(address: str, path: str = "/", timeout: float = 10, host: str = "") -> tuple[int, str]:
    """Status and body of a GET, of ``host`` if one is given."""
    request = Request(f"http://{address}{path}", headers={"Host": host} if host else {})
    try:
        with urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def end_all(pids: list[int]) -> None:
    for pid in pids:
        # It may have ended by itself meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _cwd(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _keeper_words(pid: int) -> list[str]:
    """The arguments of a keeper; none of anything else."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    return words[3:] if words[1:3] == ["-m", "deployd.keeper"] else []
