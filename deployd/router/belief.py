"""The rows of the port table: which of them the router believes, and how they outlive the registry.

Note [What is believed]
~~~~~~~~~~~~~~~~~~~~~~~
Anybody with the secret may write rows. Requests go only where the hub says that a drone is: to a row of a drone that it
accepted, at that drone's host, for a release of an app, and at no port of deployd's own. What is refused is kept and
looked at again when the hub tells more about drones; each is logged once with its reason, but none before the hub was
heard at all.

Note [Rows outlive their registry]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A registry that is started again has its rows, and goes on in the same epoch. One whose store is new knows no rows
until their owners publish them again; one that was restored from a backup has old ones. Both begin a new epoch. Then
the router goes on with the rows that it had, as *unconfirmed*. An owner publishes all its rows at once, so its first
row in the new epoch ends whatever of it is not among them. What nobody has confirmed after the grace falls; that is
counted only while the registry is heard. Rows from the router's own disk are unconfirmed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from attrs import frozen
from twisted.logger import Logger

from deployd.model.names import is_commit, release_number
from deployd.model.registration import Registration
from deployd.router.forbidden import known_as
from deployd.router.target import Target

Address = tuple[str, int]


@frozen
class RowChanges:
    """What a call changed in the end: what is to be saved, and what other copies of the table have to take over."""

    put: tuple[Registration, ...] = ()
    gone: tuple[str, ...] = ()


class Believed:
    """``came`` and ``went`` hear of targets; nothing else changes ``targets``. ``refused`` has rows and reasons."""

    _log = Logger()

    def __init__(self, came: Callable[[Target], None], went: Callable[[Target], None]) -> None:
        self._came, self._went = came, went
        self.targets: dict[str, Target] = {}
        self.refused: dict[str, tuple[Registration, str]] = {}
        self.unconfirmed: set[str] = set()
        # Where the hub says each owner is.
        self.drones: dict[str, str] = {}
        self._owners: dict[str, dict[str, None]] = {}
        self._forbidden: frozenset[Address] = frozenset()
        self._told = False

    def put(self, row: Registration) -> bool:
        """Whether that is news; ``row`` is a candidate, and confirmed with this."""
        self.unconfirmed.discard(row.id)
        target, refused = self.targets.get(row.id), self.refused.get(row.id)
        if (target is not None and target.is_as(row)) or (refused is not None and refused[0] == _plain(row)):
            return False
        self.drop(row.id)
        self._owners.setdefault(row.owner, {})[row.id] = None
        self._judge(_plain(row))
        return True

    def drop(self, id: str) -> bool:
        """Whether there was such a row."""
        self.unconfirmed.discard(id)
        target = self.targets.pop(id, None)
        if target is not None:
            self._disown(target.owner, id)
            self._went(target)
            return True
        refused = self.refused.pop(id, None)
        if refused is not None:
            self._disown(refused[0].owner, id)
        return refused is not None

    def ids(self) -> set[str]:
        return self.targets.keys() | self.refused.keys()

    def __iter__(self) -> Iterator[Registration]:
        for target in self.targets.values():
            yield target.row()
        for row, _ in self.refused.values():
            yield row

    def unconfirmed_of(self, owners: Iterable[str]) -> list[str]:
        if not self.unconfirmed:
            return []
        return [id for owner in owners for id in self._owners.get(owner, ()) if id in self.unconfirmed]

    def know(self, drones: dict[str, str | None]) -> None:
        """Where the hub says that owners are; None: that is no drone any more."""
        first, self._told = not self._told, True
        changed = [owner for owner, host in drones.items() if self.drones.get(owner) != host]
        for owner in changed:
            host = drones[owner]
            if host is None:
                del self.drones[owner]
            else:
                self.drones[owner] = host
        self._look_again(list(self._owners) if first else changed)

    def forbid(self, addresses: Iterable[Address]) -> None:
        """Where deployd itself listens; nothing else is forbidden any more."""
        forbidden = frozenset((known_as(host), port) for host, port in addresses)
        if forbidden != self._forbidden:
            self._forbidden = forbidden
            self._look_again(list(self._owners))

    def _disown(self, owner: str, id: str) -> None:
        ids = self._owners[owner]
        del ids[id]
        if not ids:
            del self._owners[owner]

    def _look_again(self, owners: Iterable[str]) -> None:
        for owner in owners:
            for id in list(self._owners.get(owner, ())):
                target = self.targets.get(id)
                if target is None:
                    self._judge(self.refused[id][0])
                elif self._problem(row := target.row()):
                    del self.targets[id]
                    self._went(target)
                    self._judge(row)

    def _judge(self, row: Registration) -> None:
        problem = self._problem(row)
        if not problem:
            self.refused.pop(row.id, None)
            target = self.targets[row.id] = Target.of(row)
            self._came(target)
            return
        _, said = self.refused.get(row.id, (row, ""))
        if self._told and said != problem:
            self._log.warn(
                "no requests are sent to {host}:{port}, {id} of {app} {release}: {problem}",
                host=row.host,
                port=row.port,
                id=row.id,
                app=row.app,
                release=row.release,
                problem=problem,
            )
        self.refused[row.id] = (row, problem if self._told else "")

    def _problem(self, row: Registration) -> str:
        host = self.drones.get(row.owner)
        if host is None:
            return "its owner is no drone that the hub accepted"
        if host != row.host:
            return f"its drone is at {host}"
        if (known_as(row.host), row.port) in self._forbidden:
            return "deployd itself listens there"
        return ""


def is_candidate(row: Registration) -> bool:
    """Whether it is a row of an app's release at all; others are nobody's mistake."""
    return (
        bool(row.app and row.role)
        and is_commit(row.namespace)
        and release_number(row.release) is not None
        and 0 < row.port < 65536
    )


def _plain(row: Registration) -> Registration:
    """Without what does not matter to a router."""
    return Registration(
        id=row.id,
        namespace=row.namespace,
        role=row.role,
        host=row.host,
        port=row.port,
        app=row.app,
        release=row.release,
        owner=row.owner,
    )
