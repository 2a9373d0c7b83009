"""A process that owns one row: ``python owner_process.py AMP_PORT KEY_FILE ROW_ID``, secret in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react

from deployd.client.owner import OwnedRows
from deployd.model.registration import Registration
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.identity import Identity
from deployd.net.secret import Secret


def main(reactor: Any, port: str, key: str, row_id: str) -> Deferred[None]:
    identity = Identity.load(Path(key))
    credentials = Credentials("test", "register", Secret(os.environ["DEPLOYD_SECRET"]), identity)
    dial = Dial(reactor, HostnameEndpoint(reactor, "127.0.0.1", int(port)), f"127.0.0.1:{port}", credentials)
    rows = OwnedRows(dial=dial, name="p1", credential=b"")
    rows.startService()
    rows.put(Registration(row_id, "test", "http", "", 20001))
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
