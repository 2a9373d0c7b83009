"""``python -m benchmarks.static_router PORT``: the proxy, one worker's worth, with every request led to PORT.

It writes the port that it listens on.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

from twisted.internet import reactor as _reactor

from deployd.daemon.clock import monotonic
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, TableItem
from deployd.router.http.factory import ProxyFactory
from deployd.router.http.settings import ProxySettings
from deployd.router.table import Table

LOOPBACK = "127.0.0.1"


def main(port: int) -> None:
    reactor: Any = monotonic(_reactor)
    table = Table(reactor)
    setting = Setting("webapp", "http", (Share("v1", 1),))
    items = [TableItem(route=RouteLine(RouteKey(LOOPBACK), setting)), TableItem(drone=DroneHost("owner", LOOPBACK))]
    table.follow(Revision("hub", 1), items, True)
    row = Registration("i", "a" * 40, "http", LOOPBACK, port, app="webapp", release="v1", owner="owner")
    table.rows_replaced([row], Revision("registry", 1))
    factory = ProxyFactory(reactor, table, ProxySettings(idle=600.0))
    listening = reactor.listenTCP(0, factory, backlog=1024, interface=LOOPBACK)
    print(listening.getHost().port, flush=True)
    gc.freeze()
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
