"""A reading session with a registry that is kept up, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, fail, succeed

from deployd.errors import Busy, DeploydError
from deployd.net.client import ClientPeer, Dial
from deployd.net.link import Link

MAX_WAITERS = 1000


class ReadingSession(MultiService):
    """``changed`` is called when a session is up, and when it is lost; ``failed`` hears of attempts that failed."""

    def __init__(
        self, dial: Dial, failed: Callable[[DeploydError], object], changed: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self.peer: ClientPeer | None = None
        self._changed = changed or (lambda: None)
        self._waiting: dict[Deferred[ClientPeer], None] = {}
        Link(dial, self._attach, failed=failed).setServiceParent(self)

    @property
    def address(self) -> str:
        """Of the registry that is connected; "" when none is."""
        return self.peer.shown if self.peer is not None else ""

    def up(self) -> Deferred[ClientPeer]:
        """Fires once a session is up; may be cancelled."""
        if self.peer is not None:
            return succeed(self.peer)
        if len(self._waiting) >= MAX_WAITERS:
            return fail(Busy("too many wait for the registry already"))
        waiter: Deferred[ClientPeer] = Deferred(lambda waiter: self._waiting.pop(waiter, None))
        self._waiting[waiter] = None
        return waiter

    def move(self, address: str) -> None:
        """Leave a registry that is not the one at ``address``."""
        if self.peer is not None and self.peer.shown != address:
            self.peer.hang_up()

    async def _attach(self, peer: ClientPeer) -> None:
        self.peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(peer)
        self._changed()

    def _lost(self, peer: ClientPeer) -> None:
        if self.peer is peer:
            self.peer = None
            self._changed()
