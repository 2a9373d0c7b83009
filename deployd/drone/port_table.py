"""The drone's rows, in whichever registry it is told to use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.client.owner import OwnedRows
from deployd.model.registration import Registration
from deployd.model.revision import Revision


@frozen
class RegistryTerms:
    """Where the registry is (an ADDRESS), what opens it, and the host that the rows should carry."""

    address: str
    credential: bytes
    host: str


class PortTable:
    """Rows may be put before any registry is known, and move along when the hub names another one."""

    _log = Logger()

    def __init__(self, make: Callable[[RegistryTerms], OwnedRows]) -> None:
        self._make = make
        self._terms: RegistryTerms | None = None
        self._rows: OwnedRows | None = None
        self._wanted: dict[str, Registration] = {}
        self._until_used: list[Deferred[OwnedRows]] = []

    def use(self, terms: RegistryTerms) -> None:
        """Keep the rows in the registry of ``terms`` from now on."""
        if self._rows is not None and self._terms is not None and self._terms.address == terms.address:
            # The next session brings them; rows that stand need no new one.
            self._rows.credential, self._rows.advertise = terms.credential, terms.host
            self._terms = terms
            return
        before, self._rows, self._terms = self._rows, self._make(terms), terms
        self._rows.startService()
        for row in self._wanted.values():
            self._rows.put(row).addErrback(self._not_moved)
        if before is not None:
            before.leave().addErrback(self._not_moved)
        waiting, self._until_used = self._until_used, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(self._rows)

    @property
    def url(self) -> str:
        """That of the registry's HTTP side; empty until it was reached."""
        return self._rows.url if self._rows is not None else ""

    @property
    def private(self) -> bool:
        """Whether that asks for the secret, or a read token."""
        return self._rows is not None and self._rows.private

    def reached(self) -> Deferred[Revision]:
        """Fires once the registry has been spoken to; freeing nothing is the smallest thing to say."""
        return self.free("nothing")

    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]:
        """``standing``: an earlier life of the drone has put it."""
        self._wanted[row.id] = row
        return Deferred.fromCoroutine(self._done(lambda rows: rows.put(row, standing)))

    def free(self, id: str) -> Deferred[Revision]:
        self._wanted.pop(id, None)
        return Deferred.fromCoroutine(self._done(lambda rows: rows.free(id)))

    def leave(self) -> Deferred[Any]:
        """Say goodbye to the registry: it frees what is left at once."""
        return self._rows.leave() if self._rows is not None else succeed(None)

    def hang_up(self) -> Deferred[Any]:
        """End the session and let the rows stand until the registry's timeout."""
        return self._rows.stopService() if self._rows is not None else succeed(None)

    async def _done(self, change: Callable[[OwnedRows], Deferred[Revision]]) -> Revision:
        while True:
            rows = self._rows or await self._used()
            try:
                return await change(rows)
            except CancelledError:
                # Cancelled by its caller, or because the rows have moved to another registry.
                if rows is self._rows:
                    raise

    def _used(self) -> Deferred[OwnedRows]:
        waiter: Deferred[OwnedRows] = Deferred()
        self._until_used.append(waiter)
        return waiter

    def _not_moved(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.warn("while moving to another registry: {error}", error=failure.value)
