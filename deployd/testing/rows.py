"""An owner's rows without a registry: tests decide when it is there, what it refuses, and when it answers.

Passes the suite that the real ``OwnedRows`` passes (tests/client/rows_contract.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed

from deployd.client.pending import Pending
from deployd.errors import DeploydError, Refused, UsageError
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration, checked
from deployd.model.revision import Revision


class FakeOwnedRows(Service):
    """``deployd.client.owner.OwnedRows`` with a registry of its own in memory.

    ``table`` is what that registry has, by id; ``refusals`` maps the ids that it refuses to the error; while ``held``
    it takes updates without answering; ``tables`` has the ids of every table that it had. It is reachable from
    the start; ``disconnect``, ``connect`` and ``forget`` (a restart of the registry) are the test's.
    """

    def __init__(
        self,
        *,
        dial: Any = None,
        name: str = "drone",
        credential: bytes = b"",
        advertise: str = "",
        failed: Callable[[DeploydError], None] | None = None,
    ) -> None:
        self.owner_name = name
        self.credential = credential
        self.advertise = advertise
        self.host = ""
        self.http = ""
        self.url = ""
        self.private = False
        self.connected = False
        self.table: dict[str, Registration] = {}
        self.tables: list[frozenset[str]] = []
        self.refusals: dict[str, DeploydError] = {}
        self.failures: list[DeploydError] = []
        self.revision = Revision("fake-1", 0)
        self.held = False
        self._failed = failed or (lambda error: None)
        self._pending = Pending()
        self._reachable = True
        self._left = False

    # What a test does with it.

    def disconnect(self) -> None:
        """The link is lost; the registry keeps its rows."""
        self._reachable = self.connected = False
        self._pending.lost()

    def connect(self) -> None:
        """The registry can be reached again."""
        self._reachable = True
        if self.running and not self.connected and not self._left:
            self._attach()

    def forget(self) -> None:
        """The registry starts again with an empty table and a new epoch."""
        reachable = self._reachable
        self.disconnect()
        self.table = {}
        self.revision = Revision(f"fake-{int(self.revision.epoch.rpartition('-')[2]) + 1}", 0)
        if reachable:
            self.connect()

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        """Answer what was held, and all that comes."""
        self.held = False
        self._flush()

    # What the code under test does with it.

    def startService(self) -> None:
        super().startService()
        if self._reachable:
            self.connect()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.connected = False
        self._pending.lost()
        self._pending.cancel_all()
        return succeed(None)

    def put(self, row: Registration, standing: bool = False) -> Deferred[Revision]:
        own = evolve(row, host="", owner="", drone="", revision=0)
        return self._change(lambda: self._pending.put(checked(own), standing))

    def free(self, row_id: str) -> Deferred[Revision]:
        return self._change(lambda: self._pending.free(row_id))

    def leave(self) -> Deferred[None]:
        self._left = True
        if self.connected:
            self.table = {}
            self.revision = self.revision.next()
        return self.stopService()

    # The registry in memory.

    def _change(self, change: Callable[[], Deferred[Revision]]) -> Deferred[Revision]:
        if self._left:
            return fail(Refused("this owner has left the registry"))
        try:
            done = change()
        except Invalid as error:
            return fail(UsageError(str(error)))
        except DeploydError as error:
            return fail(error)
        self._flush()
        return done

    def _attach(self) -> None:
        self.connected = True
        self.host, self.http = self.advertise or "127.0.0.1", "127.0.0.1:6080"
        self.url = f"http://{self.http}"
        kept = self._pending.kept()
        self._write({row.id: row for row in kept})
        self._pending.published(kept)
        self._flush()

    def _flush(self) -> None:
        while self.connected and not self.held:
            batch = self._pending.batch()
            if batch is None:
                return
            refusal = next((self.refusals[row_id] for row_id in batch.ids if row_id in self.refusals), None)
            if refusal is None:
                freed = {row_id: row for row_id, row in self.table.items() if row_id not in batch.free}
                self._write(freed | {row.id: row for row in batch.put})
                self._pending.accepted(batch, self.revision)
            elif self._pending.refused(batch, refusal):
                self.failures.append(refusal)
                self._failed(refusal)

    def _write(self, rows: dict[str, Registration]) -> None:
        table = {row_id: evolve(row, host=self.host, drone=self.owner_name) for row_id, row in rows.items()}
        if table != self.table:
            self.table, self.revision = table, self.revision.next()
            self.tables.append(frozenset(table))
