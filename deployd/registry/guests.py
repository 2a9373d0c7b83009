"""Sessions by an authorized key: as others', within what the key's line says (Note [A key that is taken away])."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isawaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, PermissionRefused, Refused
from deployd.model.grant import Grant
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.conversation import Conversation, responder
from deployd.net.peer import Peer
from deployd.net.server import Conversations, Session
from deployd.registry import responders
from deployd.registry.grants import Grants
from deployd.registry.responders import OwnerSession, ReaderSession
from deployd.registry.service import Registry
from deployd.wire.registry import Attach, Confirm, Publish, Update


def conversations(registry: Registry, grants: Grants | None = None) -> Conversations:
    """The sessions that a registry has. Who knows the secret is no guest, also where its key is authorized."""
    plain = responders.conversations(registry)
    if grants is None:
        return plain

    def read(peer: Peer, session: Session) -> Conversation:
        if session.proven or not session.authorized:
            return plain["read"](peer, session)
        return ReadingGuest(registry, grants, peer, session)

    def register(peer: Peer, session: Session) -> Conversation:
        if session.proven or not session.authorized:
            return plain["register"](peer, session)
        return RegisteringGuest(registry, grants, peer, session)

    return {**plain, "read": read, "register": register}


class ReadingGuest(ReaderSession):
    """A "read" session, for as long as the key is authorized."""

    def __init__(self, registry: Registry, grants: Grants, peer: Peer, session: Session) -> None:
        super().__init__(registry, session)
        self._grants = grants
        self._stay = grants.begin(session.owner, lambda removed: peer.drop("its key is not authorized any more"))

    def closed(self) -> None:
        super().closed()
        self._grants.end(self._stay)


class RegisteringGuest(OwnerSession):
    """A "register" session: only rows that the key may have, and its name in them."""

    _log = Logger()

    def __init__(self, registry: Registry, grants: Grants, peer: Peer, session: Session) -> None:
        super().__init__(registry, peer, session)
        self._grants = grants
        self._stay = grants.begin(session.owner, self._ended)

    @responder(Attach)
    def attach(self, name: str, credential: bytes, advertise: str) -> Any:
        # Whatever it brings, it is no drone that the hub accepted.
        return super().attach(self._granted().name, b"", advertise)

    @responder(Publish)
    def publish(self, part: int, parts: int, rows: tuple[Registration, ...]) -> Any:
        self._check(rows)
        return super().publish(part, parts, rows)

    @responder(Confirm)
    def confirm(self, stands: Revision) -> Any:
        # What stands may be from a time when the key was authorized for more, or when its owner knew the secret.
        raise Refused("an authorized key publishes its rows anew")

    @responder(Update)
    def update(self, put: tuple[Registration, ...], free: tuple[str, ...]) -> Any:
        self._check(put)
        return super().update(put, free)

    def closed(self) -> None:
        super().closed()
        self._grants.end(self._stay)

    def _ended(self, removed: bool) -> None:
        if removed and self._seat is not None:
            Deferred.fromCoroutine(self._free()).addErrback(self._not_free)
        self._peer.drop("its key is not authorized any more" if removed else "its key is authorized for something else")

    async def _free(self) -> None:
        freed: Any = self.leave()
        if isawaitable(freed):
            await freed

    def _not_free(self, failure: Failure) -> None:
        # A newer session has taken over, by the secret; or the rows fall with the timeout.
        if not failure.check(DeploydError):
            self._log.failure("while freeing the rows of {owner}", failure=failure, owner=self._session.owner)

    def _granted(self) -> Grant:
        grant = self._grants.of(self._session.owner)
        if grant is None:
            raise PermissionRefused("the key is not authorized any more")
        return grant

    def _check(self, rows: Iterable[Registration]) -> None:
        """Raise PermissionRefused."""
        grant = self._granted()
        for row in rows:
            refusal = grant.refusal(row)
            if refusal:
                raise PermissionRefused(refusal)
