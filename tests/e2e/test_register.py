"""A service of one's own in the port table: registered, found, watched, killed at every side, and gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, Daemon
from tests.e2e.waiting import until
from tests.kept_ports import kept_port

SECRET = "beep boop"
APP = """
import http.server, json, os

class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ, PID=str(os.getpid()))).encode())

    def log_message(self, *_):
        pass

print("serving", flush=True)
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Told).serve_forever()
"""


class Person:
    """Whoever runs deployctl against the registry at ``amp``, and all that was started so."""

    def __init__(self, directory: Path, amp: str) -> None:
        self.directory = directory
        self.environment = PYTHON_ENVIRONMENT | {"DEPLOYD_REGISTRY": amp, "DEPLOYD_SECRET": SECRET, "OWN": "mine"}
        self.began: list[subprocess.Popen[bytes]] = []

    def deployctl(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [BIN / "deployctl", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (arguments, done)
        return done.stdout

    def begin(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Its stdout goes to the file ``name``, its stderr to ``name.err``."""
        with (self.directory / name).open("wb") as out, (self.directory / f"{name}.err").open("wb") as err:
            command = [BIN / "deployctl", *arguments]
            self.began.append(
                subprocess.Popen(
                    command, env=self.environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err
                )
            )
        return self.began[-1]

    def register(self, name: str, version: str) -> subprocess.Popen[bytes]:
        """With a second process in a session of its own, found by its last word."""
        script = f"setsid sleep 1000{self.mark} & exec {BIN}/python {self.directory}/app.py"
        (self.directory / "app.py").write_text(APP)
        command = ("--", "sh", "-c", script)
        return self.begin(
            name, "--key", "key", "register", f"web@{version}", "--meta", "zone=eu", "--grace", "2", *command
        )

    @property
    def mark(self) -> str:
        """Digits that no other process of this machine sleeps for."""
        return f".{os.getpid()}{id(self)}"

    def rows(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.deployctl("query", "--json", *words))
        return found

    def ask(self) -> dict[str, str]:
        """What the app that is registered says of itself; {} when none answers."""
        for row in self.rows("web", "--meta", "zone=eu"):
            try:
                with urlopen(f"http://{row['host']}:{row['port']}/", timeout=10) as answer:
                    return dict(json.load(answer))
            except OSError:
                return {}
        return {}

    def left(self) -> list[int]:
        """The pids of what registered programs have started."""
        words = (f"1000{self.mark}", f"{self.directory}/app.py")
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if _last_word(pid) in words]

    def lines(self) -> list[str]:
        text = (self.directory / "watched").read_text()
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line["type"] + (f" {line['row']['version']}" if line["row"] else "") for line in lines]


def _last_word(pid: int) -> str:
    try:
        return (
            (Path("/proc") / str(pid) / "cmdline")
            .read_bytes()
            .decode(errors="replace")
            .rstrip("\0")
            .rpartition("\0")[2]
        )
    except OSError:
        return ""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Daemon]:
    ports = ["--port", kept_port(), "--http-port", kept_port(), "--interface", "127.0.0.1"]
    daemon = Daemon("registry", tmp_path / "registry", ports, [], SECRET)
    daemon.start()
    yield daemon
    if daemon.running:
        daemon.kill()


@pytest.fixture
def person(tmp_path: Path, registry: Daemon) -> Iterator[Person]:
    made = Person(tmp_path, registry.amp)
    yield made
    for process in made.began:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    until(lambda: not made.left(), "what was registered has ended")


def test_a_service_of_ones_own(person: Person, registry: Daemon) -> None:
    watching = person.begin("watched", "watch", "web", "--json")
    first = person.register("first", "1.2.3")
    (row,) = person.rows("web@^1.2", "--wait", "20")
    assert (row["namespace"], row["meta"], row["host"]) == ("default", {"zone": "eu"}, "127.0.0.1")
    told = person.ask()
    assert (told["PORT"], told["HOST"], told["OWN"]) == (str(row["port"]), "127.0.0.1", "mine")
    assert (told["DEPLOYD_REGISTRY"], told["DEPLOYD_REGISTRY_URL"]) == (registry.amp, f"http://{registry.http}")
    assert not {name for name in told if name.startswith("DEPLOYD_SECRET")}
    with urlopen(f"{told['DEPLOYD_PEERS_URL']}&role=web&wait=10", timeout=20) as answer:
        assert json.load(answer) == {"default": {"web": [{"host": "127.0.0.1", "port": row["port"]}]}}
    assert len(person.left()) == 2

    # The app dies: freed, restarted at the same port, back.
    os.kill(int(told["PID"]), signal.SIGKILL)
    again = until(lambda: (now := person.ask()).get("PID") not in (None, told["PID"]) and now, "the app is back")
    assert again["PORT"] == told["PORT"]

    # The registry dies: the row stands when it is back.
    registry.kill()
    registry.start()
    assert [found["id"] for found in person.rows("web")] == [row["id"]]

    # A later run with the same key takes over.
    second = person.register("second", "2.0.0")
    assert first.wait(20) == 1
    assert "another run with the same key has taken over" in (person.directory / "first.err").read_text()
    assert (person.directory / "first").read_text() == "serving\nserving\n"
    # The first one's row stands until the second one's app listens.
    until(lambda: [found["version"] for found in person.rows("web")] == ["2.0.0"], "the second run's app is registered")
    until(lambda: len(person.left()) == 2, "only that of the second run runs")

    # It is killed: the app does not stay behind, the row is known to be without its owner.
    second.kill()
    until(lambda: not person.left(), "the killed run's app has ended")
    until(lambda: [found["marked"] for found in person.rows("web")] == [True], "its row is marked")

    # The same owner comes back, and leaves in order.
    third = person.register("third", "3.0.0")
    person.rows("web@3", "--wait", "20")
    third.terminate()
    assert third.wait(20) == 0
    assert (person.rows("web"), person.left()) == ([], [])

    person.deployctl("query", "web", "--wait", "0.1", code=1)
    versions = ["1.2.3", "1.2.3", "2.0.0", "3.0.0"]
    until(lambda: person.lines()[-1] == "delete 3.0.0", "the watcher knows")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 130
    changes = [change for version in versions for change in (f"put {version}", f"delete {version}")]
    assert [line for line in person.lines() if line != "reset"] == changes
    assert SECRET not in "".join(path.read_text() for path in person.directory.glob("*.err"))
