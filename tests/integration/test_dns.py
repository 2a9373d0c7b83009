"""The registry's DNS, asked by dig over real sockets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.utils import getProcessOutputAndValue

from deployd.client.owner import OwnedRows
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.secret import Secret, drone_credential
from deployd.registry.daemon import RegistryDaemon
from deployd.registry.options import RegistryOptions
from tests.conftest import require
from tests.integration.test_registry import until
from tests.registry.rows import COMMIT, row

SECRET = Secret("beep boop")
ROWS = 90


async def dig(port: str, *words: str) -> str:
    asked = ["@127.0.0.1", "-p", port, "+time=5", "+tries=1", *words]
    out, err, code = await getProcessOutputAndValue("dig", asked, reactor=reactor)
    assert code == 0, out + err
    # What dig has to say about an answer that is not as it should be.
    assert b"malformed" not in out, out
    return out.decode()


def plain(text: str) -> str:
    return " ".join(text.split())


@require("dig")
@pytest_twisted.ensureDeferred
async def test_dig_finds_rows_by_commit_and_by_app(tmp_path: Path) -> None:
    options = RegistryOptions()
    where = ["--port", "0", "--dns-port", "0", "--interface", "127.0.0.1", "--state-dir", str(tmp_path)]
    options.parseOptions(["--secret", "beep boop", *where])
    daemon = RegistryDaemon(reactor, options)
    daemon.startService()
    await until((tmp_path / "addresses.json").exists)
    addresses = json.loads((tmp_path / "addresses.json").read_text())
    endpoint = HostnameEndpoint(reactor, *addresses["amp"].split(":"))
    identity = Identity.create()
    dial = Dial(reactor, endpoint, addresses["amp"], Credentials("test", "register", SECRET, identity))
    owner = OwnedRows(dial=dial, name="d1", credential=drone_credential(SECRET, identity.owner))
    owner.startService()
    try:
        await owner.put(row("say-1", 20001, role="say", app="team/webapp"))
        for number in range(ROWS):
            await owner.put(row(f"http-{number}", 30000 + number, app="many"))
        await ask(addresses["dns"].rpartition(":")[2])
        await owner.free("say-1")
        gone = await dig(addresses["dns"].rpartition(":")[2], f"say.{COMMIT[:7]}.deployd")
        assert "status: NXDOMAIN" in gone
        assert "deployd. 1 IN SOA ns.deployd. hostmaster.deployd." in plain(gone)
    finally:
        await owner.stopService()
        await daemon.stopService()
        await until(lambda: not daemon._factory.peers and not daemon._dns.open)


async def ask(port: str) -> None:
    for name in (f"say.{COMMIT[:7]}.deployd", "SAY.team--webapp.deployd", "say.v1.team--webapp.deployd"):
        assert await dig(port, "+short", name) == "127.0.0.1\n"
    found = await dig(port, f"_say._tcp.{COMMIT}.deployd", "SRV")
    assert "flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 2" in found
    assert "deployd. 5 IN SRV 0 0 20001 ip4-127-0-0-1.deployd." in plain(found)
    assert "ip4-127-0-0-1.deployd. 5 IN A 127.0.0.1" in plain(found)
    assert await dig(port, "+short", "ip4-127-0-0-1.deployd") == "127.0.0.1\n"
    assert "status: NOERROR" in await dig(port, "say.team--webapp.deployd", "AAAA")
    assert "status: NXDOMAIN" in await dig(port, "say.nobody.deployd")
    assert "status: REFUSED" in await dig(port, "example.com")
    cut = await dig(port, "+ignore", "http.many.deployd", "SRV")
    assert "flags: qr aa tc rd" in cut
    assert "ANSWER: 0" in cut
    # dig asks again over TCP by itself.
    assert len((await dig(port, "+short", "http.many.deployd", "SRV")).splitlines()) == ROWS
