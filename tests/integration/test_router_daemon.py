"""The router as a process without a cluster: refusals in one line, a port that stays closed, strangers, kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.saved import Saved
from tests.e2e.waiting import until
from tests.integration.certificates import Authority
from tests.integration.twistd_process import TwistdProcess

BIG = os.urandom(65_536) * 64
SETTING = Setting("webapp", "http", (Share("v1", 1),))
ITEMS = [TableItem(route=RouteLine(RouteKey("shop.example"), SETTING)), TableItem(drone=DroneHost("o", "127.0.0.1"))]


class RouterProcess(TwistdProcess):
    """A router whose hub and registry are not there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "router", "--hub", "127.0.0.1:1", "--registry", "127.0.0.1:1")

    def save(self, port: int) -> None:
        """A table on disk, with one route to ``port`` on loopback."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        saved = Saved(self.state / "table.sqlite")
        saved.follow(Revision("e", 5), 0, ITEMS)
        row = Registration("http-1", "a" * 40, "http", "127.0.0.1", port, "webapp", "v1", owner="o")
        saved.change_rows([row], (), Revision("r", 3))
        saved.close()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[RouterProcess]:
    router = RouterProcess(tmp_path)
    yield router
    if router.process is not None:
        router.end(signal.SIGKILL)


def page(address: str, path: str, host: str = "") -> tuple[int, bytes]:
    try:
        with urlopen(Request(f"http://{address}{path}", headers={"Host": host} if host else {}), timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def is_refused(host: str, port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection((host, port), 1).close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("which", ["--port", "--admin-port"])
def test_a_port_in_use_is_one_line(router: RouterProcess, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "address already in use" in router.refused(which, str(taken.getsockname()[1]))


def test_a_port_in_use_with_a_saved_table_is_one_line(router: RouterProcess) -> None:
    router.save(9)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "address already in use" in router.refused("--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_certificates_that_cannot_be_used_are_one_line(router: RouterProcess, tmp_path: Path, workers: str) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "x.pem").write_text("garbage")
    said = router.refused("--https-port", "0", "--certs", str(certs), "--workers", workers)
    assert "there is no usable certificate" in said


def test_a_password_of_a_key_is_not_asked_for_at_the_terminal(tmp_path: Path) -> None:
    made = Authority(tmp_path).certify("a.example")
    key = load_pem_private_key(made.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/a.pem").write_bytes(made.certificate.read_bytes() + locked)
    terminal, end = os.openpty()
    looks = "import os, sys; from pathlib import Path; from deployd.router.certificates import Certificates"
    looks += "; os.login_tty(int(sys.argv[1])); Certificates(Path(sys.argv[2])).look()"
    try:
        words = [sys.executable, "-c", looks, str(end), str(tmp_path / "certs")]
        done = subprocess.run(words, pass_fds=[end], start_new_session=True, timeout=60, check=False)
        assert done.returncode == 1
        assert b"no usable certificate" in os.read(terminal, 65536)
    finally:
        os.close(terminal)
        os.close(end)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_access_log_that_cannot_be_written_is_one_line(router: RouterProcess, workers: str) -> None:
    assert "cannot use /nonexistent/x" in router.refused("--access-log", "/nonexistent/x", "--workers", workers)


def test_a_twin_is_refused_in_one_line(router: RouterProcess, tmp_path: Path) -> None:
    router.save(9)
    router.start()
    twin = RouterProcess(tmp_path)
    twin.output = tmp_path / "twin"
    assert "another daemon holds the state directory" in twin.refused()


def test_a_router_without_a_table_takes_no_requests(router: RouterProcess) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    router.launch("--port", str(port), "--admin-port", "0")
    end = time.monotonic() + 30
    while "trying on" not in router.output.read_text() and time.monotonic() < end:
        assert router.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            router.process.wait(0.05)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert not (router.state / "addresses.json").exists()
    router.end()
    assert "Traceback" not in router.output.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_router_serves_again_from_what_it_saved(router: RouterProcess, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as app:
        router.save(app.getsockname()[1])
        for number in (signal.SIGKILL, signal.SIGTERM):
            addresses = router.start("--workers", workers, "--admin-port", "0")
            host, _, port = addresses["http"].rpartition(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
                upstream, _ = app.accept()
                with upstream:
                    assert upstream.recv(65536).startswith(b"GET /x HTTP/1.1\r\n")
                    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert answer.endswith(b"ok")
            router.end(number)
    assert not (router.state / "addresses.json").exists()
    assert "Traceback" not in router.output.read_text()


def test_a_worker_that_is_busy_keeps_no_port_of_a_killed_router(router: RouterProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as app:
        router.save(app.getsockname()[1])
        host, _, port = router.start("--workers", "2")["http"].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
            upstream, _ = app.accept()
            with upstream:
                upstream.recv(65536)
                router.end(signal.SIGKILL)
                until(lambda: is_refused(host, int(port)), "nobody listens")
                router.start("--workers", "2", "--port", port)
                upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"ok")
    router.end()


@pytest.mark.parametrize("damage", ["garbage", "text", "older"])
def test_a_saved_table_that_cannot_be_read_is_put_aside(router: RouterProcess, damage: str) -> None:
    router.save(9)
    path = router.state / "table.sqlite"
    if damage == "garbage":
        path.write_bytes(os.urandom(10_000))
    else:
        with sqlite3.connect(path) as database:
            database.execute("update items set item = ?", ("x" if damage == "text" else '{"route": {"key": 1}}',))
        database.close()
    router.launch()
    end = time.monotonic() + 30
    while "trying on" not in router.output.read_text() and time.monotonic() < end:
        assert router.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            router.process.wait(0.05)
    assert "the saved table cannot be read" in router.output.read_text()
    assert path.with_suffix(".broken").exists()


def test_a_row_at_a_port_of_its_own_is_never_asked(router: RouterProcess) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    router.save(port)
    addresses = router.start("--admin-port", str(port))
    status = json.loads(page(addresses["admin"], "/status.json")[1])
    assert status["counts"]["targets"] == 0
    assert status["table"]["refused"][0]["why"] == "deployd itself listens there"
    host, _, http = addresses["http"].rpartition(":")
    with socket.create_connection((host, int(http))) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503")
    assert str(port).encode() not in answer


def test_clients_that_come_together_are_shared_among_the_workers(router: RouterProcess) -> None:
    """Where nobody gives the others time to wake, one of them takes all, however often one looks."""
    router.save(9)
    addresses = router.start("--workers", "2", "--admin-port", "0")
    host, _, port = addresses["http"].rpartition(":")
    assert router.process is not None
    task = Path(f"/proc/{router.process.pid}/task/{router.process.pid}/children")
    workers = [Path(f"/proc/{pid}/fd") for pid in task.read_text().split()]
    shares = []
    # A worker whom a busy machine does not let run gets nothing.
    for _ in range(10):
        shares.append(taken_by(workers, (host, int(port))))
        if min(shares[-1]) >= 5:
            return
    raise AssertionError(shares)


def taken_by(workers: list[Path], address: tuple[str, int]) -> list[int]:
    """How many of fifty clients that come together each of them takes."""
    before = [len(list(worker.iterdir())) for worker in workers]

    def taken() -> list[int]:
        return [len(list(worker.iterdir())) - count for worker, count in zip(workers, before, strict=True)]

    with ExitStack() as clients:
        for _ in range(50):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        until(lambda: sum(taken()) == 50, "all are taken")
        shares = taken()
    until(lambda: sum(taken()) == 0, "all have gone")
    return shares


def test_strangers_on_the_admin_port_cost_nothing(router: RouterProcess) -> None:
    router.save(9)
    addresses = router.start("--admin-port", "0")
    host, _, port = addresses["admin"].rpartition(":")
    strangers = []
    for said in (
        b"\0" * 100_000,
        os.urandom(5000),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 9999,
    ):
        stranger = socket.create_connection((host, int(port)))
        strangers.append(stranger)
        try:
            stranger.sendall(said)
        except (ConnectionResetError, BrokenPipeError):
            continue
    assert page(addresses["admin"], "/healthz") == (200, b"ok\n")
    for stranger in strangers:
        stranger.close()
    assert "Traceback" not in router.output.read_text()


def test_https_serves_the_certificate_of_the_name(router: RouterProcess, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certs = tmp_path / "certs"
    certs.mkdir()
    made = authority.certify("shop.example")
    (certs / "shop.crt").write_bytes(made.certificate.read_bytes())
    (certs / "shop.key").write_bytes(made.key.read_bytes())
    router.save(9)
    addresses = router.start("--https-port", "0", "--certs", str(certs), "--workers", "2")
    host, _, port = addresses["https"].rpartition(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        authority.context().wrap_socket(plain, server_hostname="shop.example") as client,
    ):
        client.sendall(b"GET /x HTTP/1.0\r\nHost: other.example\r\n\r\n")
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 404")


class BigApp(BaseHTTPRequestHandler):
    """Gives BIG, and the digest of what it is given."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(BIG)

    def do_POST(self) -> None:
        given = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(sha256(given).hexdigest().encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_large_bodies_pass_over_tls_both_ways_on_one_connection(router: RouterProcess, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certs = tmp_path / "certs"
    certs.mkdir()
    made = authority.certify("localhost")
    (certs / "x.pem").write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    app = ThreadingHTTPServer(("127.0.0.1", 0), BigApp)
    serving = Thread(target=app.serve_forever)
    serving.start()
    try:
        router.save(app.server_port)
        addresses = router.start("--https-port", "0", "--certs", str(certs))
        port = int(addresses["https"].rpartition(":")[2])
        client = HTTPSConnection("localhost", port, context=authority.context(), timeout=60)
        for _ in range(2):
            client.request("GET", "/", headers={"Host": "shop.example"})
            assert client.getresponse().read() == BIG
            client.request("POST", "/", body=BIG, headers={"Host": "shop.example"})
            assert client.getresponse().read() == sha256(BIG).hexdigest().encode()
        client.close()
    finally:
        app.shutdown()
        serving.join()
        app.server_close()
