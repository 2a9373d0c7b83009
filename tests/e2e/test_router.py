"""Routers as processes: from a push to a request, from their disk alone, several at once, with workers, over TLS."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.apps import HELLO, answering
from tests.e2e.cluster import BIN, PYTHON_ENVIRONMENT, Cluster, Daemon, Repository, get
from tests.e2e.waiting import until
from tests.integration.certificates import Authority

pytestmark = require("git")

HOST = "shop.example"


def deployed(cluster: Cluster, files: dict[str, str] | None = None) -> Repository:
    """An app with one release, on one drone."""
    cluster.start_drone("d1", "--", "python3", "http.py")
    repository = cluster.repository("webapp", files or {"http.py": HELLO})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    return repository


def routed(cluster: Cluster, *shares: str) -> str:
    return cluster.deployctl("route", "set", HOST, "webapp:http", *(shares or ("v1",)))


def status(router: Daemon) -> dict:
    return dict(json.loads(get(router.addresses()["admin"], "/status.json")[1]))


def children(router: Daemon) -> list[int]:
    assert router.process is not None
    text = Path(f"/proc/{router.process.pid}/task/{router.process.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_request_reaches_the_release_that_its_route_names(cluster: Cluster, workers: str) -> None:
    deployed(cluster)
    router = cluster.start_router("r1", "--workers", workers)
    assert get(router.http, host=HOST)[0] == 404
    assert "1 router follows" in routed(cluster)
    assert get(router.http, host=HOST) == (200, "hello")
    admin = router.addresses()["admin"]
    assert get(admin, "/healthz") == (200, "ok\n")
    assert HOST in get(admin, "/status")[1]
    counted = f'deployd_router_requests_total{{host="{HOST}",path="/",release="v1",status="2xx"}} 1.0'
    until(lambda: counted in get(admin, "/metrics")[1], "the request is counted")
    cluster.deployctl("route", "rm", HOST)
    assert get(router.http, host=HOST)[0] == 404
    assert "Traceback" not in router.text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_router_serves_from_its_disk_with_hub_and_registry_down(cluster: Cluster, workers: str) -> None:
    deployed(cluster)
    router = cluster.start_router("r1", "--workers", workers)
    routed(cluster)
    assert get(router.http, host=HOST) == (200, "hello")
    # Rows are saved a moment later.
    until(lambda: (router.state / "table.sqlite").exists() and _rows(router) == 1, "the row is saved")
    cluster.hub.kill()
    cluster.registry.kill()
    assert get(router.http, host=HOST) == (200, "hello")
    router.kill()
    router.start()
    assert get(router.http, host=HOST) == (200, "hello")
    assert get(router.addresses()["admin"], "/healthz") == (200, "ok\n")
    standing = status(router)
    assert not standing["hub"]["connected"]
    assert not standing["registry"]["connected"]
    cluster.registry.start()
    cluster.hub.start()
    until(lambda: status(router)["hub"]["connected"] and status(router)["registry"]["connected"], "both are back")
    assert get(router.http, host=HOST) == (200, "hello")


def test_each_request_of_a_connection_goes_where_its_own_host_says(cluster: Cluster) -> None:
    """Bouncy sent all of a connection where the first one went: one tenant's requests to another."""
    repository = deployed(cluster)
    repository.commit({"http.py": HELLO.replace("hello", "hello b")})
    repository.push("webapp")
    cluster.deployctl("deploy", "webapp", "master")
    router = cluster.start_router("r1")
    cluster.deployctl("route", "set", "a.example", "webapp:http", "v1")
    cluster.deployctl("route", "set", "b.example", "webapp:http", "v2")
    host, _, port = router.http.rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    connection.connect()
    kept = connection.sock
    for name, answer in (("a", "hello"), ("b", "hello b"), ("c", "")) * 2 + (("a", "hello"),):
        connection.request("GET", "/", headers={"Host": f"{name}.example"})
        got = connection.getresponse()
        text = got.read().decode()
        assert (got.status, text) == (200, answer) if answer else got.status == 404
        assert connection.sock is kept
    connection.close()


def test_two_routers_follow_and_one_leaves(cluster: Cluster) -> None:
    deployed(cluster)
    first, second = cluster.start_router("r1"), cluster.start_router("r2")
    assert "2 routers follow" in routed(cluster)
    for router in (first, second):
        assert get(router.http, host=HOST) == (200, "hello")
    first.stop()
    # It has said that it leaves: nobody waits for it.
    assert "1 router follows" in cluster.deployctl("route", "set", HOST, "webapp:http", "v1", "--sticky")
    assert get(second.http, host=HOST) == (200, "hello")


def test_a_second_router_of_a_name_is_refused_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start_router("r1")
    command = [str(BIN / "twistd"), "-n", "--pidfile=", "deployd-router", "--state-dir", str(tmp_path / "twin")]
    command += ["--hub", cluster.hub.amp, "--name", "r1", "--port", "0", "--interface", "127.0.0.1"]
    environment = PYTHON_ENVIRONMENT | {"DEPLOYD_SECRET": cluster.secret or ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 1
    assert "another router is called r1" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_wrong_secret_ends_a_new_router_and_not_one_that_has_a_table(cluster: Cluster) -> None:
    deployed(cluster)
    router = cluster.start_router("r1")
    routed(cluster)
    router.stop()
    router._environment["DEPLOYD_SECRET"] = "wrong"
    router.start()
    until(lambda: "trying on" in router.text(), "the refusal is logged")
    assert get(router.http, host=HOST) == (200, "hello")
    stranger = cluster.launch_router("r2")
    stranger.stop()
    stranger._environment["DEPLOYD_SECRET"] = "wrong"
    stranger.launch()
    assert stranger.process is not None
    assert stranger.process.wait(20) == 1
    assert "Traceback" not in stranger.text()


def test_a_worker_that_is_killed_is_replaced_and_counted_on(cluster: Cluster) -> None:
    deployed(cluster)
    router = cluster.start_router("r1", "--workers", "2")
    routed(cluster)
    before = children(router)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    # The other one serves, and the port is open all the time.
    for _ in range(20):
        assert get(router.http, host=HOST) == (200, "hello")
    until(lambda: before[0] not in children(router), "its end is noticed")
    until(lambda: status(router)["workers"] == 2, "there are two again")
    assert len(children(router)) == 2
    assert "1 router follows" in cluster.deployctl("route", "set", HOST, "webapp:http", "v1", "--preview")
    pids = children(router)
    router.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "workers end with their main process")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_orderly_stop_lets_a_request_end(cluster: Cluster, workers: str) -> None:
    slow = answering('__import__("time").sleep(2) or "slow"')
    deployed(cluster, {"http.py": slow})
    router = cluster.start_router("r1", "--workers", workers)
    routed(cluster)
    with socket.create_connection(_address(router.http)) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        until(lambda: status(router)["now"]["requests"] == 1, "it is under way")
        router.stop()
        client.settimeout(10)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"slow")


def test_https_by_name_with_a_redirect_and_an_access_log(cluster: Cluster, tmp_path: Path) -> None:
    deployed(cluster)
    authority = Authority(tmp_path / "authority")
    certs = tmp_path / "certs"
    certs.mkdir()
    for name, hosts in (("default", ("other.example",)), ("shop", (HOST, "*." + HOST))):
        made = authority.certify(*hosts)
        (certs / f"{name}.pem").write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    log = tmp_path / "access.log"
    options = ("--https-port", "0", "--certs", str(certs), "--access-log", str(log))
    router = cluster.start_router("r1", *options)
    cluster.deployctl("route", "set", HOST, "webapp:http", "v1", "--https")
    host, _, port = router.addresses()["https"].rpartition(":")
    context = authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name in (HOST, "74336bc." + HOST, "other.example"):
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname=name) as client,
        ):
            assert client.selected_alpn_protocol() == "http/1.1"
            assert client.version() in ("TLSv1.2", "TLSv1.3")
            client.sendall(f"GET /x HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 200" if name == HOST else b"HTTP/1.1 404"), answer
    plainly = socket.create_connection(tuple(_address(router.http)))
    with plainly as client:
        client.sendall(f"GET /x HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        redirect = b"".join(iter(lambda: client.recv(65536), b""))
    assert redirect.startswith(b"HTTP/1.1 30")
    assert f"https://{HOST}:{port}/x".encode() in redirect
    lines = until(lambda: _lines(log, 4), "the access log has its lines")
    assert {line["status"] for line in lines} >= {200, 404}
    assert lines[0]["release"] == "v1"
    assert lines[0]["time"].endswith("Z")


def test_a_certificate_is_read_anew_when_its_file_changes(cluster: Cluster, tmp_path: Path) -> None:
    deployed(cluster)
    authority = Authority(tmp_path / "authority")
    made = authority.certify("old.example")
    pem = tmp_path / "certs" / "x.pem"
    pem.parent.mkdir()
    pem.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    router = cluster.start_router("r1", "--https-port", "0", "--certs", str(pem.parent))
    address = _address(router.addresses()["https"])
    assert _is_served(authority, address, "old.example")
    pem.write_text("garbage")
    until(lambda: "is not used" in router.text(), "the broken file is told of")
    assert _is_served(authority, address, "old.example")
    made = authority.certify("new.example")
    pem.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    until(lambda: _is_served(authority, address, "new.example"), "the new certificate is used")


def _is_served(authority: Authority, address: tuple[str, int], name: str) -> bool:
    try:
        with (
            socket.create_connection(address) as plain,
            authority.context().wrap_socket(plain, server_hostname=name),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _lines(log: Path, count: int) -> list[dict]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines] if len(lines) >= count else []


def _rows(router: Daemon) -> int:
    import sqlite3

    with sqlite3.connect(f"file:{router.state / 'table.sqlite'}?mode=ro", uri=True) as database:
        return int(database.execute("select count(*) from rows").fetchone()[0])
