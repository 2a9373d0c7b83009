"""A program's side of the registry: its own rows, and what others have (docs/client).

Note [One registry at a time]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A client has a connection for its own rows, one for questions, and one for each stream. Where several addresses are
given, all of them go to the same registry: they share what was reached last, and those that are elsewhere move when the
connection of the client's rows does. Otherwise a program could register a row and not find it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater

from deployd import __version__
from deployd.client.deadlines import Deadlines
from deployd.client.given import guarded, identity_of, keys_of, names_of
from deployd.client.questions import Questions
from deployd.client.reader import Wanted
from deployd.client.session import ReadingSession
from deployd.client.stream import RowStream
from deployd.errors import Busy, DeploydError, Refused, UsageError
from deployd.model.registration import Registration
from deployd.net.addresses import client_endpoints
from deployd.net.client import Dial
from deployd.net.handshake import Credentials
from deployd.net.secret import Secret

if TYPE_CHECKING:
    from deployd.client.owner import OwnedRows
    from deployd.net.identity import Identity

REGISTRY_PORT = 6000
PATIENCE = 10.0
WAIT_FOR_ROW = 60.0
MAX_STREAMS = 100

FindEndpoint = Callable[[Any, str, int], tuple[Any, str]]


class RegistryClient(MultiService):
    """Registers rows and reads the table, over lost connections and restarts of the registry.

    ``addresses`` are those of one registry or of several with commas ("": of $DEPLOYD_REGISTRY). ``secret`` is needed
    to register, unless ``identity`` is a key that the registry authorizes. ``identity`` is the file of a key, made
    where there is none: a program with one gets its rows back when it is started again; without one each client is an
    owner of its own. ``host`` is what its rows say; "": the address at which the registry sees it. ``on_stop``: whether
    an orderly stop frees the rows, or keeps them until the registry's timeout, for the next life. ``registry_keys``
    are public keys as the registry shows its own; it must have one of them.

    ``connected(address)``, ``disconnected()`` and ``failed(error)`` are called when it is so. Calls may be made at any
    time, also before the service is started and while no registry is reached: they wait, each until its ``timeout``.
    """

    def __init__(
        self,
        reactor: Any,
        addresses: str = "",
        *,
        secret: Secret | str | None = None,
        identity: Identity | Path | str | None = None,
        registry_keys: Sequence[str] = (),
        name: str = "",
        host: str = "",
        on_stop: Literal["free", "keep"] = "free",
        connected: Callable[[str], object] | None = None,
        disconnected: Callable[[], object] | None = None,
        failed: Callable[[DeploydError], object] | None = None,
        endpoint: FindEndpoint = client_endpoints,
    ) -> None:
        super().__init__()
        addresses = addresses or os.environ.get("DEPLOYD_REGISTRY", "")
        if not addresses:
            raise UsageError("where is the registry? give its address or set DEPLOYD_REGISTRY")
        if on_stop not in ("free", "keep"):
            raise UsageError(f"on_stop is free or keep, not {str(on_stop)[:40]!r}")
        self._clock = reactor
        # Shared by all connections (Note [One registry at a time]).
        self._endpoint, self._shown = endpoint(reactor, addresses, REGISTRY_PORT)
        self._secret = Secret(secret) if isinstance(secret, str) else secret
        self._identity = identity_of(identity)
        self._lasting = identity is not None
        self._registry_keys = keys_of(registry_keys)
        self._name, self._host = names_of(name, host)
        self._on_stop = on_stop
        self._connected, self._disconnected, self._failed = map(guarded, (connected, disconnected, failed))
        self._rows: OwnedRows | None = None
        self._streams: set[RowStream] = set()
        self._trouble = ""
        self._deadlines = Deadlines(reactor, lambda: self._trouble)
        self._stopped = False
        self._reading = ReadingSession(self._dial("read"), self._told, self._read_changed)
        self._reading.setServiceParent(self)
        self._questions = Questions(reactor, self._reading)

    @property
    def address(self) -> str:
        """Of the registry that is connected; "" when none is."""
        return self._reading.address

    def stopService(self) -> Deferred[Any]:
        """End all connections and streams; whoever waits hears of it. The rows are freed, or kept (``on_stop``)."""
        return Deferred.fromCoroutine(self._end(self._on_stop == "free"))

    def leave(self) -> Deferred[Any]:
        """As ``stopService``, with an orderly goodbye whatever ``on_stop`` says: the rows are free at once."""
        return Deferred.fromCoroutine(self._end(True))

    # Our own rows.

    def register(
        self,
        service: str,
        port: int,
        *,
        meta: Mapping[str, Any] | None = None,
        namespace: str = "default",
        id: str = "",
        timeout: float | None = WAIT_FOR_ROW,
    ) -> Deferred[Registration]:
        """Have a row for ``service`` (``ROLE`` or ``ROLE@VERSION``); fires with it once the registry has it.

        From then on it is kept there until it is freed, or the client stops. When this fails or is cancelled, there is
        no such row. Fails with NoAnswer after ``timeout`` (None: never), and with UsageError, NotOwner, Refused,
        PermissionRefused.
        """
        role, _, version = service.partition("@")
        row = Registration(
            id=id or f"{role}-{uuid4()}",
            namespace=namespace,
            role=role,
            version=version,
            host="",
            port=port,
            meta=dict(meta or {}),
        )
        return self._deadlines.run(self._put(row), timeout, f"{service} is not registered")

    def update(
        self,
        id: str,
        *,
        port: int | None = None,
        meta: Mapping[str, Any] | None = None,
        timeout: float | None = WAIT_FOR_ROW,
    ) -> Deferred[Registration]:
        """Change the port or the metadata (all of it) of a row of ours; fires as ``register`` does.

        The change may be made later when this fails with NoAnswer.
        """
        row = self._rows.wanted(id) if self._rows is not None else None
        if row is None:
            return fail(UsageError(f"there is no row {id[:130]} of this client"))
        changes: dict[str, Any] = {} if port is None else {"port": port}
        if meta is not None:
            changes["meta"] = dict(meta)
        return self._deadlines.run(self._put(evolve(row, **changes)), timeout, f"{id} is not changed")

    def free(self, id: str, *, timeout: float | None = WAIT_FOR_ROW) -> Deferred[None]:
        """See to it that there is no such row of ours; fires once that is so in the registry."""
        return self._deadlines.run(self._free(id), timeout, f"{id} may still be there")

    # Those of everybody.

    def query(
        self,
        match: str = "",
        *,
        namespace: str = "",
        app: str = "",
        release: str = "",
        meta: Mapping[str, Any] | None = None,
        near: str = "",
        timeout: float | None = PATIENCE,
    ) -> Deferred[list[Registration]]:
        """The rows that match ``ROLE[@RANGE]`` and the rest (empty: any), those of ``near`` first."""
        asked = self._questions.rows(Wanted(match, namespace, app, release), meta, near, some=False)
        return self._deadlines.run(asked, timeout, f"no registry at {self._shown} has answered")

    def get(
        self,
        match: str = "",
        *,
        namespace: str = "",
        app: str = "",
        release: str = "",
        meta: Mapping[str, Any] | None = None,
        near: str = "",
        wait: float | None = WAIT_FOR_ROW,
    ) -> Deferred[list[Registration]]:
        """As ``query``, once there is a match; fails with NoAnswer when there is none for ``wait`` seconds."""
        asked = self._questions.rows(Wanted(match, namespace, app, release), meta, near, some=True)
        return self._deadlines.run(asked, wait, f"there is no {match or 'such row'}")

    def watch(
        self, match: str = "", *, since: str = "", namespace: str = "", app: str = "", release: str = ""
    ) -> RowStream:
        """The changes of rows that match, after ``since``.

        That is a RowEvent's ``position``, "now", or "" for a reset and all rows first. Raise Busy, Refused.
        """
        if self._stopped:
            raise Refused("this client has stopped")
        if len(self._streams) >= MAX_STREAMS:
            raise Busy(f"this client has {MAX_STREAMS} streams already; close some")
        wanted = Wanted(match, namespace, app, release)
        stream = RowStream(self._dial("read"), wanted, since, self._told, self._streams.discard)
        self._streams.add(stream)
        return stream

    # The rest.

    async def _put(self, row: Registration) -> Registration:
        rows = self._owner()
        before = rows.wanted(row.id)
        try:
            revision = await rows.put(row, standing=self._lasting)
        except CancelledError:
            if before is None and not self._stopped:
                rows.free(row.id).addErrback(lambda _: None)
            raise
        owner = self._identity.owner if self._identity is not None else ""
        return evolve(row, host=rows.host, owner=owner, drone=self._name, revision=revision.number)

    async def _free(self, id: str) -> None:
        if self._rows is not None:
            await self._rows.free(id)

    def _owner(self) -> OwnedRows:
        """What keeps our rows; made at the first."""
        if self._stopped:
            raise Refused("this client has stopped")
        if self._rows is None:
            # Not above: whoever only reads needs neither cattrs nor cryptography.
            from deployd.client.owner import OwnedRows
            from deployd.net.identity import Identity

            self._identity = self._identity or Identity.create()
            self._rows = OwnedRows(
                dial=self._dial("register"),
                name=self._name,
                credential=b"",
                advertise=self._host,
                failed=self._told,
                changed=self._rows_changed,
            )
            self._rows.setServiceParent(self)
        return self._rows

    def _dial(self, purpose: str) -> Dial:
        # A private registry may know our key.
        identity = self._identity if purpose == "register" or self._secret is None else None
        credentials = Credentials(f"client {__version__}", purpose, self._secret, identity, self._registry_keys)
        return Dial(self._clock, self._endpoint, self._shown, credentials)

    def _told(self, error: DeploydError) -> None:
        self._trouble = str(error)
        self._failed(error)

    def _read_changed(self) -> None:
        if self._reading.address and self._rows is None:
            self._trouble = ""
        if self._reading.address:
            self._connected(self._reading.address)
        else:
            self._disconnected()

    def _rows_changed(self) -> None:
        """All to the registry that has our rows (Note [One registry at a time])."""
        if self._rows is not None and self._rows.address:
            self._trouble = ""
            self._reading.move(self._rows.address)
            for stream in list(self._streams):
                stream.move(self._rows.address)

    async def _end(self, goodbye: bool) -> None:
        self._stopped = True
        closing = [stream.close() for stream in list(self._streams)]
        self._deadlines.cancel_all()
        if goodbye and self._rows is not None and self._rows.running:
            await self._rows.leave()
            # It cannot be asked to end again while it tells that it has ended.
            await deferLater(self._clock, 0, lambda: None)
        for closed in closing:
            await closed
        if self.running:
            await super().stopService()
