"""``twistd deployd-drone``."""

from __future__ import annotations

from twisted.application.service import IService

from deployd.daemon.clock import monotonic
from deployd.drone.daemon import DroneDaemon
from deployd.drone.options import DroneOptions as Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    from twisted.internet import reactor

    return DroneDaemon(monotonic(reactor), options)
