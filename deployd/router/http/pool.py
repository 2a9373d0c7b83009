"""Connections to the apps: new ones, and those kept for the next request."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from deployd.router.http.settings import ProxySettings
from deployd.router.http.timeouts import Deadlines
from deployd.router.http.upstream import AppConnection, Asking
from deployd.router.target import Target


class Pool:
    """A target's unused connections are in ``target.idle``, the one used last at the end."""

    def __init__(self, reactor: Any, settings: ProxySettings, deadlines: Deadlines) -> None:
        self._reactor = reactor
        self._settings = settings
        self._deadlines = deadlines

    def take(self, target: Target, now: float, fresh: bool) -> AppConnection | None:
        """A connection kept for reuse; with ``fresh`` only one that was used a moment ago and is open as we look."""
        idle = target.idle
        while idle:
            connection: AppConnection = idle.pop()
            if connection.lost:
                continue
            if not fresh:
                return connection
            if now - connection.idle_since <= self._settings.fresh and connection.is_open():
                return connection
            connection.abort()
        return None

    def keep(self, connection: AppConnection) -> None:
        """``connection`` has done its work and is clean."""
        target = connection.target
        if target.gone or len(target.idle) >= self._settings.pool_size:
            connection.close()
            return
        now = self._reactor.seconds()
        connection.idle_since = now
        connection.deadline = now + self._settings.pool_idle
        target.idle.append(connection)

    def connect(self, target: Target, asking: Asking) -> None:
        """Calls ``asking.connected`` or ``asking.unreachable``."""
        factory = _Connecting(target, asking, self, self._deadlines)
        self._reactor.connectTCP(target.host, target.port, factory, timeout=self._settings.connect)


def close_idle(target: Target) -> None:
    """Nobody will need the connections to ``target`` that are not in use; the others are not kept afterwards."""
    idle, target.idle = target.idle, []
    for connection in idle:
        connection.close()


class _Connecting(ClientFactory):
    noisy = False

    def __init__(self, target: Target, asking: Asking, pool: Pool, deadlines: Deadlines) -> None:
        self._target = target
        self._asking = asking
        self._pool = pool
        self._deadlines = deadlines

    def buildProtocol(self, addr: IAddress | None) -> AppConnection:
        return AppConnection(self._target, self._deadlines, self._made)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._asking.unreachable(self._target)

    def _made(self, connection: AppConnection) -> None:
        if not self._asking.connected(connection):
            self._pool.keep(connection)
