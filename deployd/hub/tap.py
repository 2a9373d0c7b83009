"""``twistd deployd-hub``."""

from __future__ import annotations

from twisted.application.service import IService

import deployd.daemon.lean  # noqa: F401 (before all that imports Twisted's endpoints)
from deployd.daemon.clock import monotonic
from deployd.hub.daemon import HubDaemon
from deployd.hub.options import HubOptions as Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    from twisted.internet import reactor

    return HubDaemon(monotonic(reactor), options)
