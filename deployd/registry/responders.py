"""What answers the registry's sessions: owners' and readers'."""

from __future__ import annotations

from typing import Any

from deployd.errors import Malformed, PermissionRefused, Refused
from deployd.model.registration import Registration
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import Conversations, Session
from deployd.registry.book import Seat
from deployd.registry.filter import RowFilter
from deployd.registry.service import Registry
from deployd.wire.documents import dump
from deployd.wire.lookup import ListRows, Watch
from deployd.wire.paging import PAGE_BYTES, Assembly
from deployd.wire.registry import Attach, Leave, Publish, Update

ANONYMOUS = frozenset({"read"})

# A publication may not grow further than what the book would ever take.
MAX_PUBLISHED = 20_000


def conversations(registry: Registry) -> Conversations:
    """The sessions that a registry has; "read" may go without the secret."""
    return {
        "read": lambda peer, session: ReaderSession(registry),
        "register": lambda peer, session: OwnerSession(registry, peer, session),
    }


class ReaderSession(Conversation):
    """The responders of a "read" session; it needs no secret and changes nothing."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @responder(ListRows)
    def list_rows(self, namespace: str, app: str, release: str, role: str, after: str) -> dict[str, Any]:
        page: list[dict[str, Any]] = []
        size = 0
        for row in self._registry.rows(RowFilter(namespace, app, release, role), after):
            document = self._registry.document(row)
            size += len(dump(document)) + 1
            if page and size > PAGE_BYTES:
                return {"rows": page, "next": page[-1]["id"]}
            page.append(document)
        return {"rows": page, "next": ""}

    @responder(Watch)
    async def watch(self, position: str, wait: float) -> dict[str, Any]:
        page = await self._registry.watch(position, wait, self)
        return {"reset": page.reset, "changes": page.changes, "position": page.position, "revision": page.revision}

    def closed(self) -> None:
        self._registry.stop_watching(self)


class OwnerSession(ReaderSession):
    """The responders of a "register" session: one owner's, for as long as no newer one takes over."""

    def __init__(self, registry: Registry, peer: Peer, session: Session) -> None:
        super().__init__(registry)
        self._peer = peer
        self._session = session
        self._seat: Seat | None = None
        self._parts: Assembly[Registration] = Assembly()

    @responder(Attach)
    def attach(self, name: str, credential: bytes, advertise: str) -> dict[str, Any]:
        if self._seat is not None:
            raise Malformed("a second Attach in one session")
        if not self._session.proven:
            raise PermissionRefused("registering needs the secret")
        self._seat = self._registry.attach(
            self._session.owner, name, credential, advertise, self._session.host, self._hang_up
        )
        return {"host": self._seat.host, "revision": self._registry.revision}

    @responder(Publish)
    def publish(self, part: int, parts: int, rows: tuple[Registration, ...]) -> dict[str, Any]:
        seat = self._attached()
        self._registry.working(seat)
        if part and self._parts.held + len(rows) > MAX_PUBLISHED:
            self._parts = Assembly()
            raise Refused(f"more than {MAX_PUBLISHED} rows in one publication")
        whole = self._parts.add(part, parts, rows)
        if whole is None:
            return {"revision": self._registry.revision}
        return {"revision": self._registry.publish(seat, whole)}

    @responder(Update)
    def update(self, put: tuple[Registration, ...], free: tuple[str, ...]) -> dict[str, Any]:
        return {"revision": self._registry.update(self._attached(), put, free)}

    @responder(Leave)
    def leave(self) -> dict[str, Any]:
        self._registry.leave(self._attached())
        return {}

    def closed(self) -> None:
        super().closed()
        if self._seat is not None:
            self._registry.lost(self._seat)

    def _attached(self) -> Seat:
        if self._seat is None:
            raise Malformed("Attach comes first")
        return self._seat

    def _hang_up(self) -> None:
        self._peer.hang_up()
