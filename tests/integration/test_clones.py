"""Clones that are read slowly, or not at all, do not hold up the end of the hub."""

from __future__ import annotations

import base64
import os

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.e2e.cluster import SECRET
from tests.git import forge
from tests.git.forge import ZERO, Objects
from tests.integration.strangers import Stranger
from tests.integration.test_deadlines import DEADLINE, PAUSE, Daemons, daemons  # noqa: F401


def request(service: str, body: bytes) -> bytes:
    login = base64.b64encode(f"x:{SECRET}".encode()).decode()
    head = f"POST /webapp/{service} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {login}\r\n"
    head += f"Content-Type: application/x-{service}-request\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def push(address: str) -> str:
    """Push an app of 20 MB; its tip."""
    objects = Objects()
    tip = objects.commit(objects.tree(("100644", b"big", objects.blob(os.urandom(20 << 20)))))
    with Stranger(address) as pusher:
        body = forge.push([("refs/heads/master", ZERO, tip)], objects.pack())
        pusher.send(request("git-receive-pack", body))
        assert b"ok refs/heads/master" in pusher.until_hung_up()
    return tip


def clone(address: str, tip: str) -> Stranger:
    """Ask for everything, and have the first of it."""
    stranger = Stranger(address)
    want = forge.pktlines.line(f"want {tip} side-band-64k thin-pack ofs-delta\n".encode())
    stranger.send(request("git-upload-pack", want + b"0000" + forge.pktlines.line(b"done\n")))
    assert b"200 OK" in stranger.receive()
    return stranger


@pytest_twisted.ensureDeferred
async def test_the_hub_stops_while_somebody_clones_and_does_not_read(daemons: Daemons) -> None:  # noqa: F811
    address = await daemons.address("hub-http")
    tip = await deferToThread(push, address)
    with await deferToThread(clone, address, tip) as lazy:
        stopping: Deferred[None] = daemons.running.pop("hub").stopService()
        for _ in range(int(DEADLINE / PAUSE)):
            if stopping.called:
                break
            await deferLater(reactor, PAUSE)
        assert stopping.called
        assert len(await deferToThread(lazy.until_hung_up)) < 20 << 20
