"""A whole cluster over TLS, by endpoint strings alone: AMP, git over HTTPS, the drone's own fetches included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.apps import HELLO
from tests.e2e.cluster import SECRET, Cluster, Repository, get
from tests.e2e.waiting import until
from tests.integration.certificates import Authority

pytestmark = require("git")


class TlsCluster(Cluster):
    """Every link is encrypted; a client trusts what ``authority`` signed and nobody else."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.authority = Authority(directory / "authority")
        self.certified = self.authority.certify("localhost")

    def start_core(self, *registry_options: str) -> None:
        listen = self.certified.listener()
        self.daemon("registry", "registry", "--port", "0", "--listen", listen, "--http-interface", "127.0.0.1").start()
        registry = ("--registry", self.address("registry"))
        self.daemon("hub", "hub", "--listen", listen, "--git-listen", listen, *registry).start()

    def address(self, daemon: str, authority: Authority | None = None) -> str:
        """The client endpoint string of a daemon's AMP port."""
        port = self.daemons[daemon].amp.rpartition(":")[2]
        return f"tls:localhost:{port}:trustRoots={(authority or self.authority).roots}"

    def deployctl_environment(self, secret: str | None = None) -> dict[str, str]:
        return super().deployctl_environment(secret) | {"DEPLOYD_HUB": self.address("hub")}

    def git_url(self, app: str, password: str | None = None) -> str:
        return super().git_url(app, password).replace("http://", "https://").replace("127.0.0.1", "localhost")

    def start_drone(self, name: str, *arguments: str) -> object:
        return self.daemon(name, "drone", "--hub", self.address("hub"), "--name", name, *arguments).start()


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsCluster]:
    made = TlsCluster(tmp_path)
    try:
        made.start_core()
        yield made
    finally:
        made.close()


def pushed(cluster: TlsCluster) -> Repository:
    repository = cluster.repository("webapp", {"http.py": HELLO})
    repository.git("config", "http.sslCAInfo", str(cluster.authority.pem))
    repository.push("webapp")
    return repository


def test_the_whole_loop_runs_over_tls(tls: TlsCluster) -> None:
    tls.start_drone("d1", "--", "python3", "http.py")
    repository = pushed(tls)
    repository.git("remote", "add", "deployd", tls.git_url("webapp"))
    assert "v1" in tls.deployctl("deploy", cwd=repository.path)
    (row,) = tls.ports()[repository.head]["http"]
    assert get(f"{row['host']}:{row['port']}") == (200, "hello")
    tls.deployctl("retire", "webapp", "v1")
    assert tls.ports() == {}
    for daemon in tls.daemons.values():
        assert "Traceback" not in daemon.text()
        assert SECRET not in daemon.text()
    assert "shows the secret" not in tls.hub.text()


def test_who_does_not_trust_the_hub_says_so_and_leaves_it_alone(tls: TlsCluster, tmp_path: Path) -> None:
    """deployctl with exit code 3; a drone by trying on; git by itself."""
    other = Authority(tmp_path / "other")
    done = tls.run_deployctl("--hub", tls.address("hub", other), "ps")
    assert done.returncode == 3
    assert "certificate" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    stranger = tls.daemon("d2", "drone", "--hub", tls.address("hub", other), "--name", "d2", "--", "true")
    stranger.launch()
    until(lambda: "certificate" in stranger.text(), "the drone says why")
    assert tls.json("drones") == []
    repository = tls.repository("webapp", {"http.py": HELLO})
    assert "certificate" in repository.run_git("push", tls.git_url("webapp"), "master").stderr
    assert tls.json("apps") == []


def test_a_daemon_whose_certificate_cannot_be_read_says_so_in_one_line(tls: TlsCluster, tmp_path: Path) -> None:
    for kind, option in (("registry", "--listen"), ("hub", "--git-listen")):
        missing = f"ssl:0:privateKey={tmp_path / 'nosuch.key'}:certKey={tls.certified.certificate}"
        daemon = tls.daemon(f"bad-{kind}", kind, "--port", "0", option, missing)
        daemon.launch()
        assert daemon.process is not None
        assert daemon.process.wait(30) != 0
        assert "nosuch.key" in daemon.text()
        assert "Traceback" not in daemon.text()
