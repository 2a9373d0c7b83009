"""Every command of the README, as it stands there, on three machines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.cluster import EXAMPLES, PYTHON_ENVIRONMENT
from tests.e2e.namespaces import Network, possible
from tests.e2e.waiting import until

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text()
COMMANDS = re.findall(r"^    \$ (.+)$", README, re.M)


class Machines:
    """Shells on three machines, all in directories of their own; what runs in the background is ended with them."""

    def __init__(self, network: Network, directory: Path) -> None:
        self.network = network
        self.directory = directory
        self.work = directory / "work"
        self.exports: dict[str, str] = {}
        self._background: list[subprocess.Popen[bytes]] = []

    def environment(self, machine: str) -> dict[str, str]:
        state = self.directory / f"state-{machine}"
        git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
        return PYTHON_ENVIRONMENT | git | self.exports | {"HOME": str(state), "XDG_STATE_HOME": str(state)}

    def start(self, machine: str, command: str, kind: str) -> None:
        """A daemon; its state directory is the one option that the README leaves to the default."""
        place = self.directory / machine / kind
        place.mkdir(parents=True)
        command = self.there(command.removesuffix(" &"))
        command = command.replace(f"deployd-{kind}", f"deployd-{kind} --state-dir {place}/state")
        with (place / "log").open("wb") as log:
            # A host name of its own, as a machine has.
            shell = [*self.network.prefix(machine), "unshare", "--uts", "sh", "-c"]
            shell.append(f"hostname {machine} && exec {command}")
            process = subprocess.Popen(shell, cwd=place, env=self.environment(machine), stdout=log, stderr=log)
        self._background.append(process)
        until((place / "state" / "addresses.json").exists, f"{kind} on {machine} is ready: {place}/log")

    def run(self, command: str) -> str:
        """A command in the git repository, on the hub's machine."""
        shell = [*self.network.prefix("hubhost"), "sh", "-ec", self.there(command)]
        environment = self.environment("hubhost")
        done = subprocess.run(shell, cwd=self.work, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def there(self, command: str) -> str:
        return command.replace("hubhost", self.network.address("hubhost"))

    def close(self) -> None:
        for process in reversed(self._background):
            process.terminate()
            process.wait(30)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    if os.environ.get("DEPLOYD_REQUIRE_ALL") != "1" and (os.geteuid() != 0 or not possible()):
        pytest.skip("needs root and network namespaces")
    network = Network(["hubhost", "say", "http"])
    made = Machines(network, tmp_path)
    try:
        network.build()
        yield made
    finally:
        made.close()
        network.destroy()


@require("ip", "curl")
def test_the_walk_through_of_the_readme(machines: Machines) -> None:
    commands = iter(COMMANDS)
    machines.start("hubhost", next(commands), "registry")
    machines.start("hubhost", next(commands), "hub")
    machines.start("say", next(commands), "drone")
    machines.start("http", next(commands), "drone")

    shutil.copytree(EXAMPLES / "beep-boop-python", machines.work)
    identity = "-c user.name=t -c user.email=t@example"
    machines.run(f"git init -qb master && git add . && git {identity} commit -qm first")
    machines.run(next(commands))
    exported = next(commands)
    machines.exports = dict(word.split("=", 1) for word in machines.there(exported).removeprefix("export ").split())
    machines.run(next(commands))

    listed = machines.run(next(commands))
    head = machines.run("git rev-parse HEAD").strip()
    assert head in listed
    address = re.search(r'"http": \[\s*{\s*"host": "([^"]+)",\s*"port": (\d+)', listed)
    assert address, listed
    here = ":".join(address.groups())
    for expected in ("beep boop", "HUG ALL HUMANS"):
        command = next(commands)
        assert machines.run(re.sub(r"10\.0\.0\.3:\d+", here, command)).strip() == expected
    machines.run(next(commands).replace("74336bc", head[:7]))
    assert machines.run("deployctl --json ports").strip() == "{}"
    assert next(commands, None) is None


def test_the_two_commands_of_the_readme() -> None:
    """`make test` is what runs this; `make demo` is run here, to its end."""
    assert re.findall(r"^    (make \w+)$", README, re.M) == ["make demo", "make test"]
    if not (TOP / ".venv" / "ready").exists():
        pytest.skip("needs make develop")
    command = ["make", "demo", "DEMO_OPTIONS=--exit"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "beepity boop!" in done.stdout
