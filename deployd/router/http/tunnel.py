"""Bytes both ways, after an upgrade: WebSockets and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployd.router.http.upstream import AppConnection

if TYPE_CHECKING:
    from deployd.router.http.connection import ClientConnection
    from deployd.router.http.exchange import Exchange


class Tunnel:
    """Each side may end what it sends on its own; when both have, or one is lost, it is over."""

    __slots__ = ("_app", "_app_ended", "_client", "_client_ended", "_exchange", "_over")

    def __init__(self, client: ClientConnection, app: AppConnection, exchange: Exchange) -> None:
        self._client = client
        self._app = app
        self._exchange = exchange
        self._client_ended = False
        self._app_ended = False
        self._over = False

    def start(self, from_client: bytes, from_app: bytes) -> None:
        """With what each side had already sent."""
        self._client.through(self)
        self._app.through(self)
        if from_client:
            self.from_client(from_client)
        if from_app:
            self.from_app(from_app)
        self._client.resume()
        self._moved()
        if self._client.ended:
            self.client_ended()

    def _moved(self) -> None:
        factory = self._client.factory
        self._client.deadline = factory.seconds() + factory.settings.tunnel

    def from_client(self, data: bytes) -> None:
        self._app.write(data)
        self._moved()

    def from_app(self, data: bytes) -> None:
        self._client.send(data)
        self._exchange.sent_bytes += len(data)
        self._moved()

    def app_full(self) -> None:
        self._client.pause()

    def app_drained(self) -> None:
        self._client.resume()

    def client_full(self) -> None:
        self._app.pause()

    def client_drained(self) -> None:
        self._app.resume()

    def client_ended(self) -> None:
        self._client_ended = True
        self._app.end()
        self._unless_both()

    def app_ended(self) -> None:
        self._app_ended = True
        self._client.end()
        self._unless_both()

    def _unless_both(self) -> None:
        if self._client_ended and self._app_ended:
            self._end()

    def client_lost(self) -> None:
        self._end()

    def app_lost(self) -> None:
        self._end()

    def expired(self, now: float) -> None:
        self._end()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        if not self._app.lost:
            self._app.close()
        self._exchange.tunnel_over()
