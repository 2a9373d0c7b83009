"""The hub as a process: ports, kills, full disks, strangers; and its store on a real thread."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from deployd.interfaces import OPENED, SAVED
from deployd.model.desired import Changes, Event
from deployd.storage.sqlite import SqliteStore, connection_pool, make_private
from tests.integration.twistd_process import TwistdProcess

PUT_BACK = Event(0.0, "hub restored", "hub")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[TwistdProcess]:
    hub = TwistdProcess(tmp_path, "hub")
    yield hub
    if hub.process is not None:
        hub.end(signal.SIGKILL)


def page(address: str, path: str) -> tuple[int, bytes]:
    try:
        with urlopen(f"http://{address}{path}", timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def test_serves_its_pages_and_stops_orderly(hub: TwistdProcess) -> None:
    addresses = hub.start()
    assert page(addresses["http"], "/healthz") == (200, b"ok\n")
    assert b"deployd hub" in page(addresses["http"], "/")[1]
    assert page(addresses["http"], "/-/x")[0] == 404
    assert page(addresses["http"], "/webapp/info/refs?service=git-upload-pack")[0] == 401
    assert oct(hub.state.stat().st_mode & 0o777) == "0o700"
    hub.end()
    assert not (hub.state / "addresses.json").exists()
    assert "Traceback" not in hub.output.read_text()


def test_a_second_signal_changes_nothing(hub: TwistdProcess) -> None:
    hub.start()
    assert hub.process is not None
    hub.process.send_signal(signal.SIGTERM)
    while (hub.state / "addresses.json").exists():
        time.sleep(0.001)
    hub.end()
    assert "Traceback" not in hub.output.read_text()


def test_is_the_same_hub_after_a_kill(hub: TwistdProcess) -> None:
    hub.start()
    hub.end(signal.SIGKILL)
    addresses = hub.start()
    assert page(addresses["http"], "/healthz")[0] == 200
    assert "Traceback" not in hub.output.read_text()


@pytest.mark.parametrize("which", ["--port", "--git-port"])
def test_a_port_in_use_is_one_line(hub: TwistdProcess, which: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        hub.launch(which, str(taken.getsockname()[1]))
        assert hub.process is not None
        assert hub.process.wait(20) == 1
    assert "address already in use" in hub.output.read_text()
    assert "Traceback" not in hub.output.read_text()


@pytest.mark.parametrize("damage", ["newer", "garbage"])
def test_a_state_that_cannot_be_used_is_one_line(hub: TwistdProcess, damage: str) -> None:
    hub.start()
    hub.end()
    database = hub.state / "hub.sqlite"
    if damage == "garbage":
        database.write_bytes(b"x" * 10_000)
    else:
        connection = sqlite3.connect(database)
        connection.execute("pragma user_version = 99")
        connection.close()
    hub.launch()
    assert hub.process is not None
    assert hub.process.wait(20) == 1
    assert "Traceback" not in hub.output.read_text()
    assert "deployd-hub: " in hub.output.read_text()


def test_strangers_cost_it_nothing(hub: TwistdProcess) -> None:
    addresses = hub.start()
    sockets = []
    for address in (addresses["amp"], addresses["http"]):
        host, _, port = address.rpartition(":")
        for said in (b"\0" * 100_000, os.urandom(5000), b"GET / HTTP/1.1\r\n\r\n", b"\0\x06_ask", b"x" * 1_000_000):
            stranger = socket.create_connection((host, int(port)))
            sockets.append(stranger)
            try:
                stranger.sendall(said)
            except (ConnectionResetError, BrokenPipeError):
                continue
        reset = socket.create_connection((host, int(port)))
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.close()
    assert page(addresses["http"], "/healthz") == (200, b"ok\n")
    for stranger in sockets:
        stranger.close()
    assert "Traceback" not in hub.output.read_text()


@pytest_twisted.ensureDeferred
async def test_the_store_saves_in_its_thread_in_order(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    make_private(path)
    store = SqliteStore(path, connection_pool(reactor, path))
    first = await store.open(PUT_BACK)
    await gatherResults([store.save(Changes(apps=(f"app{number}",))) for number in range(50)])
    await store.close()
    again = SqliteStore(path, connection_pool(reactor, path))
    saved = await again.open(PUT_BACK)
    assert (saved.epoch, saved.counter) == (first.epoch, 2 * OPENED + 50 * SAVED)
    assert len(saved.desired.apps) == 50
    await again.close()
