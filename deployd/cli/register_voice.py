"""What ``deployctl register`` says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from deployd.cli.blocking import Blocking
from deployd.model.address import Address
from deployd.model.registration import Registration
from deployd.model.revision import Revision

MAX_UNSAID = 100
LAST_WORDS = 0.5

Row = dict[str, Any]
Say = Callable[[str, Row | None], None]
"""``say(sentence, line)``: for people, and what a watch would say."""


class Voice:
    """Says it in a thread: a terminal may be stopped for long, and the link to the registry must live on meanwhile."""

    def __init__(self, reactor: Any, say: Say) -> None:
        self._reactor = reactor
        self._say = say
        self._blocking = Blocking(reactor, "words")
        self._unsaid = 0

    def __call__(self, sentence: str, line: Row | None) -> None:
        if self._unsaid < MAX_UNSAID:
            self._unsaid += 1
            self._blocking.run(self._say, sentence, line).addBoth(self._said)

    def rest(self) -> Deferred[None]:
        """Fires when all is said, or in a moment."""
        said = self._blocking.run(lambda: None)
        return said.addTimeout(LAST_WORDS, self._reactor, lambda result, _: None)

    def _said(self, result: object) -> None:
        # Also where nobody can read it any more.
        self._unsaid -= 1


class Words:
    """What happens to the row. ``host`` gives what it carries."""

    def __init__(self, say: Say, host: Callable[[], str]) -> None:
        self._say = say
        self._host = host

    def put(self, row: Registration, revision: Revision) -> None:
        document = self._document(row) | {"revision": revision.number}
        where = Address(str(document["host"]), row.port)
        line = {"type": "put", "revision": revision.number, "row": document}
        self._say(f"{named(row)} is registered at {where} in {row.namespace}, as {row.id}", line)

    def freed(self, row: Registration) -> None:
        self._say(f"{named(row)} is no longer registered", {"type": "delete", "row": self._document(row)})

    def note(self, sentence: str) -> None:
        self._say(sentence, None)

    def _document(self, row: Registration) -> Row:
        names = ("id", "namespace", "role", "version", "port", "meta", "owner")
        return {name: getattr(row, name) for name in names} | {"host": self._host()}


def named(row: Registration) -> str:
    return f"{row.role}@{row.version}" if row.version else row.role
