"""A registry that is killed (-9) while an owner writes and somebody follows: what was acknowledged, and told, holds."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from deployd.client.reader import follow, list_rows
from deployd.errors import DeploydError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.addresses import client_endpoint
from deployd.net.client import ClientPeer, Dial, connect
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from deployd.wire.registry import Attach, Publish, Update
from tests.integration.twistd_process import TwistdProcess
from tests.kept_ports import kept_port

KILLS = 40 if os.environ.get("DEPLOYD_SOAK") else 2
SECRET = Secret("beep boop")
WINDOW = 4
UNKNOWN = -1
IDS = [f"r{number}" for number in range(20)]


class Killed:
    """The registry, at one address for all its lives."""

    def __init__(self, directory: Path) -> None:
        (directory / "state").mkdir()
        self._process = TwistdProcess(directory, "registry", "--timeout", "120", "--http-port", "0")
        self._port = kept_port()
        self._identity = Identity.create()
        self.address = ""

    async def start(self) -> None:
        addresses = await deferToThread(self._process.start, "--port", self._port)
        self.address = addresses["amp"]

    def kill(self) -> None:
        self._process.end(signal.SIGKILL)

    async def connected(self, purpose: str) -> ClientPeer:
        endpoint, shown = client_endpoint(reactor, self.address, 6000)
        return await connect(Dial(reactor, endpoint, shown, Credentials("test", purpose, SECRET, self._identity)))


class Writer:
    """Puts and frees rows, several at once; knows what was acknowledged, and what may have been done besides.

    ``kill`` is called a moment after some acknowledgements.
    """

    def __init__(self, chance: random.Random, kill: Callable[[], None]) -> None:
        self.chance = chance
        self.kill = kill
        self.left = 0
        self.newest = Revision("", 0)
        self.rows: dict[str, tuple[int, int]] = {}
        self.unsure: set[str] = set()
        self._ports = iter(chance.sample(range(1, 65536), 65535))

    async def write(self, peer: ClientPeer) -> None:
        """Until the connection is lost."""
        await peer.call(Attach, name="d1", credential=b"", advertise="")
        wanted = tuple(_row(row_id, port) for row_id, (port, _) in self.rows.items())
        answer = await peer.call(Publish, part=0, parts=1, rows=wanted)
        self.newest = answer["revision"]
        # What may have been done besides was undone just now.
        self.rows |= {row_id: (self.rows[row_id][0], UNKNOWN) for row_id in self.unsure & self.rows.keys()}
        self.unsure.clear()
        self.left = self.chance.randrange(1, 80)
        await DeferredList([Deferred.fromCoroutine(self._write(peer, IDS[one::WINDOW])) for one in range(WINDOW)])

    async def _write(self, peer: ClientPeer, ids: list[str]) -> None:
        while True:
            # No port comes twice: what changes nothing has no revision of its own.
            row_id, port = self.chance.choice(ids), next(self._ports)
            is_put = row_id not in self.rows or self.chance.random() < 0.7
            self.unsure.add(row_id)
            try:
                put, free = ((_row(row_id, port),), ()) if is_put else ((), (row_id,))
                answer = await peer.call(Update, put=put, free=free)
            except DeploydError:
                return
            self.unsure.discard(row_id)
            self.left -= 1
            if self.left == 0:
                reactor.callLater(self.chance.uniform(0, 0.02), self.kill)
            if self.newest.number < answer["revision"].number:
                self.newest = answer["revision"]
            if is_put:
                self.rows[row_id] = port, answer["revision"].number
            else:
                del self.rows[row_id]


class Follower:
    """Has been told each change once, and of one epoch."""

    def __init__(self) -> None:
        self.position = ""
        self.told: list[int] = []

    async def follow(self, peer: ClientPeer, until: int | None = None) -> None:
        """Until that revision, or until the connection is lost."""
        while until is None or not self.told or self.told[-1] < until:
            try:
                lines = await follow(peer, self.position, wait=5.0)
            except DeploydError:
                return
            assert not self.position or all(line["type"] != "reset" for line in lines.lines)
            self.position = lines.position
            self.told += [line["revision"] for line in lines.lines if line["type"] != "reset"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Killed]:
    registry = Killed(tmp_path)
    yield registry
    registry.kill()


@pytest_twisted.ensureDeferred
async def test_what_was_acknowledged_and_told_holds_after_kills(registry: Killed) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    writer, follower = Writer(chance, registry.kill), Follower()
    await registry.start()
    for _ in range(KILLS):
        peers = [await registry.connected("register"), await registry.connected("read")]
        at_work = [Deferred.fromCoroutine(writer.write(peers[0])), Deferred.fromCoroutine(follower.follow(peers[1]))]
        for each in at_work:
            await each
        before = writer.newest
        await registry.start()
        reader = await registry.connected("read")
        found = {row["id"]: row for row in await list_rows(reader)}
        for row_id, (port, number) in writer.rows.items():
            if row_id not in writer.unsure:
                assert found[row_id]["port"] == port
                assert number in (UNKNOWN, found[row_id]["revision"])
        assert set(found) <= {*writer.rows, *writer.unsure}
        assert all(row["marked"] for row in found.values())
        # One and the same epoch, in which no number goes back.
        now = (await follow(reader, "", wait=0.0)).revision
        assert now.epoch == before.epoch
        assert now.number >= max(before.number, *follower.told)
        await follower.follow(reader, until=now.number)
        reader.hang_up()
        await reader.when_closed()
    assert follower.told == list(range(1, follower.told[-1] + 1))


def _row(row_id: str, port: int) -> Registration:
    return Registration(row_id, "default", "http", "", port)
