"""Applications that nobody here wrote: a real framework each, with its own way to be built, pushed and deployed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.conftest import require
from tests.e2e.cluster import EXAMPLES, Cluster, Repository, get
from tests.e2e.waiting import until

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
PIP_KEYS = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert")
MADE = {"node_modules", ".venv", "__pycache__"}
DEADLINE = ("--timeout", "150")


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def pip_config() -> dict[str, str]:
    """How pip on this machine reaches packages; a build has no file of whoever runs the tests, nor an environment."""
    found: dict[str, list[str]] = {}
    for line in said(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in PIP_KEYS:
            found.setdefault(f"PIP_{key.upper().replace('-', '_')}", []).append(str(ast.literal_eval(value)))
    return {name: values[-1] for name, values in found.items()}


def npm_config() -> dict[str, str]:
    """The same for npm."""
    known = {key: said("npm", "config", "get", key).strip() for key in ("registry", "cafile")}
    return {f"npm_config_{key}": value for key, value in known.items() if value not in ("", "null", "undefined")}


def pushed(cluster: Cluster, name: str, config: dict[str, str]) -> Repository:
    """The example as an app of its name, on the hub."""
    top = EXAMPLES / name
    names = [path.relative_to(top) for path in top.rglob("*") if path.is_file()]
    files = {str(path): (top / path).read_text() for path in names if not MADE & set(path.parts)}
    repository = cluster.repository(name, files)
    told = repository.run_git("push", cluster.git_url(name), "master")
    assert told.returncode == 0, told.stderr
    assert f"remote: deployd: master {repository.head[:7]}: `deployctl deploy {name}" in told.stderr
    config |= {variable: os.environ[variable] for variable in PROXIES if variable in os.environ}
    if config:
        cluster.deployctl("config", "set", name, *(f"{key}={value}" for key, value in config.items()))
    return repository


def deployed(cluster: Cluster, name: str, commit: str) -> str:
    """The address of the one instance that a deploy of ``commit`` has started."""
    cluster.deployctl("deploy", name, commit, *DEADLINE)
    ((row,),) = cluster.ports()[commit].values()
    return f"{row['host']}:{row['port']}"


def built(directory: Path, name: str) -> set[Path]:
    """Where the links called ``name`` in the checkouts of a drone lead."""
    links = [path for path in directory.glob(f"checkouts/**/{name}") if path.is_symlink()]
    assert links, f"no {name} in {directory}"
    return {link.resolve() for link in links}


class Visitors:
    """Threads that get ``address`` again and again; ``failed`` has what was no page."""

    def __init__(self, address: str) -> None:
        self.failed: list[object] = []
        self.served = 0
        self._address = address
        self._gone = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(4)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._gone.is_set():
            try:
                status, _ = get(self._address)
            except OSError as error:
                self.failed.append(error)
            else:
                self.served += 1
                if status != 200:
                    self.failed.append(status)


def test_flask_runs_under_gunicorn(cluster: Cluster) -> None:
    """Two commits with one requirements.txt share one virtual environment; a restart is seen by no visitor."""
    cluster.start_drone("d1")
    repository = pushed(cluster, "flask-gunicorn", pip_config())
    first = deployed(cluster, "flask-gunicorn", repository.head)
    assert get(first) == (200, "good day from Flask\n")
    cluster.deployctl("config", "set", "flask-gunicorn", "GREETING=good evening")
    text = (repository.path / "app.py").read_text()
    second = repository.commit({"app.py": text.replace("from Flask", "from Flask again")})
    repository.push("flask-gunicorn")
    assert get(deployed(cluster, "flask-gunicorn", second)) == (200, "good evening from Flask again\n")
    assert get(first) == (200, "good day from Flask\n")
    assert len(built(cluster.daemons["d1"].state, ".venv")) == 1
    (before,) = (row for row in cluster.json("ps") if row["commit"] == second)

    def restarted() -> bool:
        (row,) = (row for row in cluster.json("ps") if row["id"] == before["id"])
        return row["pid"] != before["pid"] and row["state"] == "ready"

    with Visitors(f"{before['host']}:{before['port']}") as visitors:
        until(lambda: visitors.served >= 20, "visitors come")
        cluster.deployctl("restart", before["id"])
        until(restarted, "it runs anew")
        served = visitors.served
        until(lambda: visitors.served >= served + 20, "visitors go on")
    assert visitors.failed == []


@require("node", "npm")
def test_express_runs_with_its_lock_file(cluster: Cluster) -> None:
    cluster.start_drone("d1")
    repository = pushed(cluster, "express", npm_config())
    assert get(deployed(cluster, "express", repository.head)) == (200, "hello from Express\n")
    assert len(built(cluster.daemons["d1"].state, "node_modules")) == 1


def test_a_static_site_is_served(cluster: Cluster) -> None:
    cluster.start_drone("d1")
    repository = pushed(cluster, "static-site", {})
    address = deployed(cluster, "static-site", repository.head)
    status, page = get(address)
    assert status == 200
    assert "hello from plain files" in page
    assert get(address, "/style.css")[0] == 200
    assert get(address, "/Procfile")[0] == 404
