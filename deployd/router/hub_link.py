"""A router's side of its sessions with the hub: enters, follows, says where it stands, counts, and leaves in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.application.service import MultiService
from twisted.logger import Logger

from deployd.errors import (
    DeploydError,
    IncompatibleVersion,
    Malformed,
    NameInUse,
    PermissionRefused,
    Refused,
    SecretRefused,
    UsageError,
)
from deployd.model.revision import Revision
from deployd.model.route import Tally
from deployd.model.router import Standing, TableItem
from deployd.net.client import Dial
from deployd.net.conversation import Conversation, responder
from deployd.net.link import Link
from deployd.net.peer import Peer
from deployd.router.counting import Counting
from deployd.router.standing import Standings
from deployd.wire.paging import Assembly
from deployd.wire.routing import Depart, Enter, Follow

# What a stranger to this hub will hear again however often it asks.
_FOR_GOOD = (IncompatibleVersion, NameInUse, PermissionRefused, SecretRefused, UsageError)

GOODBYE = 2.0
MAX_ITEMS = 500_000


class Follower(Protocol):
    """What follows the hub's table: the router."""

    def follow(self, revision: Revision, base: int, items: tuple[TableItem, ...]) -> Awaitable[None]:
        """Done once it is saved and all workers follow; raise Refused if it is neither."""

    def standing(self) -> Standing: ...

    def urgent(self) -> bool:
        """Whether somebody waits to hear of each change: something is leaving or retiring."""

    def tallies(self, since: int) -> tuple[int, tuple[Tally, ...]]:
        """The number of this reading, and what has changed since the reading ``since``."""


@frozen
class Events:
    """What the daemon hears: each acceptance by the hub with its word on the registry, a refusal to end with, and each
    other attempt that failed."""

    entered: Callable[[str], None]
    refused: Callable[[DeploydError], None]
    away: Callable[[], None]


class HubLink(MultiService):
    """``known`` says whether this router has been accepted before, or has a table.

    As with drones (Note [Once accepted]): a router that no hub has ever accepted ends with the refusal, as somebody has
    mistyped something and is watching. Later it serves, so it only logs a refusal, and tries on.
    """

    _log = Logger()

    def __init__(self, dial: Dial, name: str, follower: Follower, events: Events, known: bool) -> None:
        super().__init__()
        self._shown = dial.shown
        self._name = name
        self._follower = follower
        self._events = events
        self._known = known
        self._said = ""
        self.peer: Peer | None = None
        self._standings = Standings(dial.clock, follower.standing, follower.urgent)
        self._counting = Counting(dial.clock, follower.tallies)
        Link(dial, self._attach, self._conversation, self._failed).setServiceParent(self)

    @property
    def connected(self) -> bool:
        return self.peer is not None

    def changed(self) -> None:
        """The router may stand somewhere else now."""
        self._standings.changed()

    async def depart(self) -> None:
        """Tell the hub that nobody need wait for this router any more; takes two seconds at most."""
        peer = self.peer
        self._standings.detach()
        self._counting.detach()
        if peer is not None:
            try:
                await self._counting.last(peer, GOODBYE)
                await peer.call(Depart, timeout=GOODBYE)
            except DeploydError as error:
                self._log.info("left {hub} without its answer: {error}", hub=self._shown, error=error)

    def _conversation(self, peer: Peer) -> Conversation:
        return HubConversation(self._follower)

    async def _attach(self, peer: Peer) -> None:
        answer = await peer.call(Enter, name=self._name)
        self.peer = peer
        peer.when_closed().addCallback(lambda _: self._lost(peer))
        self._log.info("entered {hub} as {name}", hub=self._shown, name=self._name)
        self._known, self._said = True, ""
        # At once: who waits for this router should not wait for something to happen here.
        self._standings.attach(peer)
        self._counting.attach(peer)
        self._events.entered(answer["registry"])

    def _lost(self, peer: Peer) -> None:
        if self.peer is peer:
            self.peer = None
            self._standings.detach()
            self._counting.detach()

    def _failed(self, error: DeploydError) -> None:
        if not self._known and isinstance(error, _FOR_GOOD):
            self._events.refused(error)
            return
        if str(error) != self._said:
            self._said = str(error)
            self._log.warn("{error}; trying on", error=error)
        self._events.away()


class HubConversation(Conversation):
    """One session of the hub's: what it may say to a router."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._follower = follower
        self._assembly: Assembly[TableItem] = Assembly()
        self._acknowledged = 0
        self._busy = False
        self._closed = False

    def closed(self) -> None:
        self._closed = True

    @responder(Follow)
    async def follow(
        self, revision: Revision, base: int, part: int, parts: int, items: tuple[TableItem, ...]
    ) -> dict[str, Any]:
        if self._busy:
            raise Malformed("a Follow before the last one was answered")
        if part and self._assembly.held + len(items) > MAX_ITEMS:
            raise Refused(f"a table of more than {MAX_ITEMS} lines")
        whole = self._assembly.add(part, parts, items)
        if whole is None:
            return {}
        if base and base != self._acknowledged:
            raise Malformed("a change of a table that was not acknowledged in this session")
        if self._closed:
            raise Refused("this session is over")
        self._busy = True
        try:
            await self._follower.follow(revision, base, whole)
        finally:
            self._busy = False
        self._acknowledged = revision.number
        return {}
