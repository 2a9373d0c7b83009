"""Seams: what the rooms ask of each other without knowing who answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from deployd.model.desired import Changes, Desired, Event
from deployd.model.intent import Intent
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange

MAX_EVENTS = 10_000
OPENED, SAVED = 1, 256


@frozen
class Saved:
    """What a store holds when it is opened.

    ``counter`` never falls: each open adds OPENED, this one included, and each save adds SAVED. Numbers made from it
    grow over restarts without being saved one by one, and those of a store that was put back from a backup are lower
    than before; opening such a store many times does not make up for one save that it lost. ``restored`` says that the
    store found this out itself; ``epoch`` is then a new one.
    """

    epoch: str
    counter: int
    desired: Desired
    restored: bool = False


class HubStore(Protocol):
    """Where the hub's desired state survives a kill. Calls come one at a time, in order.

    Every method fails with Refused and one sentence when the disk or its content does not allow it; then nothing of
    that call has happened.
    """

    def open(self, restored: Event) -> Deferred[Saved]:
        """What is there; a new store starts a new epoch. One that was restored does too, and saves ``restored``."""
        ...

    def save(self, changes: Changes, epoch: str = "") -> Deferred[int]:
        """Make ``changes`` in one transaction, durable once this fires with the counter; start ``epoch`` if given."""
        ...

    def events(self, newest: int, app: str = "", above: int = 0, first: int = MAX_EVENTS) -> Deferred[list[Event]]:
        """The ``newest`` events (of ``app``, "": of all) with numbers above that, oldest first; of those the ``first``.

        Only MAX_EVENTS are kept.
        """
        ...

    def close(self) -> Deferred[None]:
        """Let go of the store; nothing is called after it."""
        ...


@frozen
class SavedTable:
    """What a registry's store holds when it is opened.

    ``rows`` are in the order of their revisions; ``changes`` are the newest that are kept, oldest first and without a
    gap up to ``number``. ``restored`` says that the store was put back from a backup; ``epoch`` is then a new one, and
    there are no changes.
    """

    epoch: str
    number: int
    rows: tuple[Registration, ...] = ()
    changes: tuple[RowChange, ...] = ()
    restored: bool = False


class RegistryStore(Protocol):
    """Where the port table survives a kill. Calls come one at a time; every method fails with one sentence.

    What an implementation promises, wherever it keeps the table (tests/storage/registry_store_contract.py):

    - What ``save`` has fired for is there after a kill of anything at any instant, and so are its numbers: within an
      epoch no number ever stands for something else. A store that cannot know (it was put back from a backup) starts a
      new epoch, above all numbers that it can know of.
    - A save is done whole or not at all, and before it answers the store knows which. If the answer of a remote store
      is lost, it is for the implementation to ask what became of the save (the table's number tells) before it says
      done or Busy; where it cannot find out, Superseded is the answer that is never wrong.
    - There is one writer. Two registries may be started on one remote store: the save whose changes do not go on from
      the number that the store has is refused, by the store itself and in the same transaction.
    """

    def open(self) -> Deferred[SavedTable]:
        """What is there; a new store starts a new epoch at 0. Fails with Refused for one that cannot be read.

        Also called again after Superseded, and then as if for the first time.
        """
        ...

    def save(self, changes: Sequence[RowChange]) -> Deferred[None]:
        """Append ``changes``, whose numbers follow each other and go on from the last one saved; durable once this
        fires.

        Fails with Busy when it could not be done (a full disk, a store that is away): nothing was done, and it may be
        tried again with the same numbers. Fails with Superseded when somebody else has written to the store since, or
        when it is not known what was done: the caller's table is then no longer that of the store. How many changes are
        kept is the store's affair; it forgets the oldest, and never a row.
        """
        ...

    def close(self) -> Deferred[None]:
        """Let go of the store; nothing is called after it."""
        ...


class Repositories(Protocol):
    """What the hub asks of the git repositories of its apps. Every method blocks and is called in threads.

    Raise UnknownApp, UnknownCommit, Refused with a sentence (deployd.git.repositories has the details).
    """

    def apps(self) -> list[str]: ...
    def exists(self, app: str) -> bool: ...
    def head(self, app: str) -> str | None: ...
    def set_head(self, app: str, branch: str) -> None: ...
    def resolve(self, app: str, text: str) -> str: ...
    def keep(self, app: str, commit: str) -> None: ...
    def read_file(self, app: str, commit: str, name: str, limit: int) -> bytes | None: ...
    def absent(self, app: str, commit: str, names: Sequence[str]) -> list[str]: ...
    def clean(self) -> None: ...
    def intents(self, app: str, id: str = "*") -> list[Intent]: ...
    def forget(self, app: str, id: str) -> None: ...


class InThread(Protocol):
    """Calls a blocking function in a thread."""

    def __call__(self, function: Any, *arguments: Any) -> Deferred[Any]: ...
