"""``twistd deployd-router``."""

from __future__ import annotations

import deployd.router.lean  # noqa: F401  isort: skip
from twisted.application.service import IService

from deployd.daemon.clock import monotonic
from deployd.router.daemon import RouterDaemon
from deployd.router.options import RouterOptions as Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    from twisted.internet import reactor

    return RouterDaemon(monotonic(reactor), options)
