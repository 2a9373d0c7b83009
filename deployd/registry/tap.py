"""``twistd deployd-registry``."""

from __future__ import annotations

from twisted.application.service import IService

import deployd.daemon.lean  # noqa: F401 (before all that imports Twisted's endpoints)
from deployd.daemon.clock import monotonic
from deployd.registry.daemon import RegistryDaemon
from deployd.registry.options import RegistryOptions as Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    from twisted.internet import reactor

    return RegistryDaemon(monotonic(reactor), options)
