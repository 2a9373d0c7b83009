"""Which keys may go without the secret, and for how much, as the files in a directory say at the moment.

Note [A key that is taken away]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The files are read anew every LOOK seconds, whole: what the kernel says of a file's times may be the same before and
after a change. A key that is gone ends its sessions, and their rows are freed at once. One whose line has changed ends
them too, but its rows stand until it has published again, as for any lost link: then only those are taken that the
new line allows. When the directory cannot be read at the moment (no file descriptor is left), what was read last holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import Refused
from deployd.model.grant import Grant
from deployd.registry.key_files import Found, printable, read_again, read_keys

LOOK = 2.0
# Reading should never take that long; the log says so once.
SLOW = 30.0
MAX_SAID = 20

NOTHING = Found({}, {})

REMOVED = "the key of {owner} is not authorized any more: its session ends"
CHANGED = "the key of {owner} is authorized for something else now: its session starts anew"


@define(eq=False)
class Stay:
    """A session that is here by a key. ``ended(removed)`` is called when the key's line has gone, or changed."""

    owner: str
    ended: Callable[[bool], None]


class Grants(Service):
    """``in_thread`` calls a function elsewhere; ``load`` comes first."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, in_thread: Callable[..., Deferred[Any]], directory: Path) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._directory = directory
        self._found = NOTHING
        self._stays: dict[str, set[Stay]] = {}
        self._trouble = ""
        self._since: float | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def load(self) -> None:
        """Read the directory now; raise Refused when it cannot be."""
        try:
            self._take(read_keys(self._directory))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise Refused(f"cannot read the authorized keys in {self._directory}: {why}") from None
        self._log.info("{count} authorized keys in {place}", count=len(self._found.grants), place=str(self._directory))

    def startService(self) -> None:
        super().startService()
        self._looking.start(LOOK, now=False)

    def stopService(self) -> None:
        super().stopService()
        if self._looking.running:
            self._looking.stop()

    def authorizes(self, key: bytes) -> bool:
        """Whether the owner of this public key may have a session without the secret."""
        return key in self._found.grants

    def of(self, owner: str) -> Grant | None:
        """What the owner may register at the moment."""
        return self._found.owners.get(owner)

    def begin(self, owner: str, ended: Callable[[bool], None]) -> Stay:
        """A session by the key of ``owner`` has begun; ``end`` it once it is over."""
        stay = Stay(owner, ended)
        self._stays.setdefault(owner, set()).add(stay)
        return stay

    def end(self, stay: Stay) -> None:
        stays = self._stays.get(stay.owner, set())
        stays.discard(stay)
        if not stays:
            self._stays.pop(stay.owner, None)

    def _look(self) -> None:
        if self._since is None:
            self._since = self._clock.seconds()
            self._in_thread(read_again, self._directory, self._found).addCallbacks(self._read, self._not_read)
        elif self._clock.seconds() - self._since > SLOW:
            self._say(f"reading the authorized keys in {self._directory} takes long; what was read before holds")

    def _read(self, found: Found | None) -> None:
        """None: nothing has changed."""
        self._since = None
        self._trouble = ""
        if self.running and found is not None:
            self._take(found)
            count = len(found.grants)
            self._log.info("the authorized keys have changed: now there are {count}", count=count)

    def _not_read(self, failure: Failure) -> None:
        self._since = None
        error = failure.value
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            # The directory was taken away, and so were the keys.
            gone = Found({}, {}, (f"{self._directory} is gone: no key is authorized",))
            self._read(gone if gone != self._found else None)
        elif isinstance(error, OSError):
            why = (error.strerror or str(error)).lower()
            self._say(f"cannot read the authorized keys in {self._directory}: {why}; what was read before holds")
        else:
            self._log.failure("while reading authorized keys", failure=failure)

    def _take(self, found: Found) -> None:
        before, self._found = self._found.owners, found
        for problem in found.problems[:MAX_SAID]:
            self._log.warn("{problem}", problem=printable(problem))
        if len(found.problems) > MAX_SAID:
            self._log.warn("and {count} more lines are wrong", count=len(found.problems) - MAX_SAID)
        changed = {owner for owner in self._stays if self.of(owner) != before.get(owner)}
        for stay in [stay for owner in sorted(changed) for stay in self._stays[owner]]:
            removed = self.of(stay.owner) is None
            self._log.info(REMOVED if removed else CHANGED, owner=stay.owner)
            stay.ended(removed)

    def _say(self, trouble: str) -> None:
        """Once, until it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._log.warn("{trouble}", trouble=trouble)
