"""A private registry with authorized keys, as a twistd process: who may read and write, and by which way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from deployd.client.owner import OwnedRows
from deployd.model.grant import public_key
from deployd.model.registration import Registration
from deployd.net.addresses import client_endpoint
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.secret import Secret, read_url
from tests.integration.test_registry import until
from tests.integration.twistd_process import TwistdProcess

DEPLOYCTL = str(Path(sys.executable).with_name("deployctl"))
SECRET = "beep boop"
DEADLINE = 30.0


class Keyed:
    """The registry, and deployctl without the secret."""

    def __init__(self, directory: Path) -> None:
        self.keys = directory / "keys"
        self.keys.mkdir()
        self.mine = directory / "ci.key"
        options = ("--private", "--authorized-keys", str(self.keys), "--timeout", "30")
        self.daemon = TwistdProcess(directory, "registry", *options)
        (directory / "state").mkdir()
        self.addresses: dict[str, str] = {}

    def start(self) -> None:
        self.addresses = self.daemon.start()

    def deployctl(self, *arguments: str, secret: str = "") -> tuple[int, str]:
        env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "DEPLOYD_REGISTRY": self.addresses.get("amp", "")}
        env |= {"DEPLOYD_SECRET": secret} if secret else {}
        ran = subprocess.run([DEPLOYCTL, *arguments], env=env, capture_output=True, text=True, timeout=30, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    def owner(self) -> OwnedRows:
        """By the key in ``mine``, who asks for this registry and no other."""
        endpoint, shown = client_endpoint(reactor, self.addresses["amp"], 6000)
        pinned = (public_key(self.addresses["key"]),)
        credentials = Credentials("test", "register", None, Identity.read(self.mine), pinned)
        return OwnedRows(dial=Dial(reactor, endpoint, shown, credentials), name="ci", credential=b"")

    def get(self, url: str) -> tuple[int, Any]:
        try:
            with urlopen(url, timeout=DEADLINE) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    made = Keyed(tmp_path)
    yield made
    if made.daemon.process is not None:
        made.daemon.end()


@pytest_twisted.ensureDeferred
async def test_a_key_registers_and_reads_until_it_is_taken_away(keyed: Keyed) -> None:
    code, line = await deferToThread(
        keyed.deployctl, "key", "new", str(keyed.mine), "--role", "web", "--namespace", "default"
    )
    assert code == 0, line
    (keyed.keys / "ci.pub").write_text(f"# ours\n{line}nonsense\n")
    await deferToThread(keyed.start)

    owner = keyed.owner()
    owner.startService()
    try:
        registered: Deferred[Any] = owner.put(Registration("w1", "default", "web", "", 8000))
        await registered.addTimeout(DEADLINE, reactor)
        assert owner.private

        # deployctl: by the key, by the secret, and not without.
        table = {"default": {"web": [{"host": "127.0.0.1", "port": 8000}]}}
        by_key = deferToThread(keyed.deployctl, "ports", "--json", "--key", str(keyed.mine))
        by_secret = deferToThread(keyed.deployctl, "ports", "--json", secret=SECRET)
        by_nothing = deferToThread(keyed.deployctl, "ports", "--json")
        for asking in (by_key, by_secret):
            code, said = await asking
            assert (code, json.loads(said)) == (0, table)
        code, said = await by_nothing
        assert (code, said.count("\n")) == (4, 1)
        assert "neither was given; give --secret-file" in said

        # HTTP: what an app of a drone is told works with the plainest of clients.
        url = f"http://{keyed.addresses['http']}"
        with_token = read_url(url, Secret(SECRET).read_token())
        assert await deferToThread(keyed.get, f"{with_token}/v1/ports") == (200, table)
        assert (await deferToThread(keyed.get, f"{url}/v1/ports"))[0] == 401
        assert (await deferToThread(keyed.get, f"{url}/healthz"))[0] == 200

        # Away with it: the row is gone long before the timeout.
        (keyed.keys / "ci.pub").unlink()
        end = reactor.seconds() + DEADLINE
        while (await deferToThread(keyed.get, f"{with_token}/v1/ports"))[1]:
            assert reactor.seconds() < end, "the row is still there"
        await until(lambda: not owner.connected)
    finally:
        await owner.stopService()
    said = keyed.daemon.output.read_text()
    assert "ci.pub:3: a line begins with 'ed25519'; the line is ignored" in said
    assert "not authorized any more" in said
    for hidden in (SECRET, Secret(SECRET).read_token(), keyed.mine.read_bytes().hex()):
        assert hidden not in said
