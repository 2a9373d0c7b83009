"""The owner of a run's row: its session with the registry, and what it makes of its troubles."""

from __future__ import annotations

from deployd.cli.cluster import Cluster
from deployd.cli.register_row import Standing
from deployd.cli.register_voice import Say, named
from deployd.cli.register_words import owner_name
from deployd.client.owner import OwnedRows
from deployd.client.reader import Document, Wanted, query
from deployd.errors import DeploydError, IncompatibleVersion, NotOwner, PermissionRefused, SecretRefused, Superseded
from deployd.model.address import Address
from deployd.model.registration import Registration
from deployd.net.identity import Identity
from deployd.net.peer import Peer

# What is no use to try again.
_FATAL = (IncompatibleVersion, NotOwner, PermissionRefused, SecretRefused)


class Owner:
    """The rows of this run, and what it makes of their troubles. ``standing`` is set before they start."""

    standing: Standing

    def __init__(
        self,
        cluster: Cluster,
        address: str,
        identity: Identity,
        row: Registration,
        advertise: str,
        say: Say,
    ) -> None:
        self._row = row
        self._say = say
        self._name = owner_name()
        self._away = self._refused = False
        # What registries have said that our rows carry.
        self._hosts: set[str] = set()
        self.rows = OwnedRows(
            dial=cluster.owner_dial(address, identity),
            name=self._name,
            credential=b"",
            advertise=advertise,
            failed=self._failed,
            before=self._look,
        )

    async def _look(self, peer: Peer) -> None:
        """End where another run has taken over meanwhile (Note [No gap, and no fight])."""
        self._hosts.add(self.rows.host)
        if self._away:
            self._away = False
            self._say("the registry is back", None)
        if not self.standing.has_stood:
            return
        row = self._row
        for found in await query(peer, Wanted(row.role, row.namespace)):
            if found.get("id") == row.id and found.get("owner") == row.owner and self._is_others(found):
                where = Address(str(found.get("host")), int(found.get("port") or 0))
                error = Superseded(
                    f"another run with the same key has taken over {named(row)}, at {where}: this one ends"
                )
                self.standing.fail(error)
                raise error

    def _is_others(self, found: Document) -> bool:
        """A registry that knows our key may have another name for us."""
        elsewhere = found.get("drone") != self._name and found.get("host") not in self._hosts
        return elsewhere or found.get("port") not in self.standing.ports

    def _failed(self, error: DeploydError) -> None:
        if isinstance(error, Superseded) or self.standing.over:
            return
        if isinstance(error, _FATAL) and not self.standing.has_stood:
            # Of a row of ours that is refused we hear twice, more to the point the second time.
            if self._refused or not isinstance(error, (NotOwner, PermissionRefused)):
                self.standing.fail(error)
            self._refused = True
        elif not self._away:
            self._away = True
            self._say(f"{error}; trying on", None)
