"""A store whose saves wait until they are let through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from deployd.errors import Busy
from deployd.interfaces import RegistryStore, SavedTable
from deployd.model.row_change import RowChange


class HeldStore:
    """``inner``, which saves at once. ``asked`` is called when a save begins, ``saved`` with what is in ``inner``."""

    def __init__(
        self, inner: RegistryStore, asked: Callable[[], None], saved: Callable[[Sequence[RowChange]], None]
    ) -> None:
        self._inner = inner
        self._asked = asked
        self._saved = saved
        self.is_quick = False
        self._changes: Sequence[RowChange] = ()
        self._waiting: Deferred[None] | None = None

    @property
    def is_saving(self) -> bool:
        return self._waiting is not None

    def open(self) -> Deferred[SavedTable]:
        return self._inner.open()

    def save(self, changes: Sequence[RowChange]) -> Deferred[None]:
        assert self._waiting is None, "one save at a time"
        self._asked()
        self._changes = list(changes)
        if self.is_quick:
            self.store()
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting

    def store(self) -> None:
        """Save, and tell nobody."""
        stored: list[None] = []
        self._inner.save(self._changes).addCallback(stored.append)
        assert stored, "the inner store saves at once"
        self._saved(self._changes)

    def let_through(self) -> None:
        self.store()
        self._answered().callback(None)

    def overtaken(self) -> None:
        """Somebody else has written meanwhile; ``inner`` knows."""
        done: list[Failure | None] = []
        self._inner.save(self._changes).addBoth(done.append)
        assert isinstance(done[0], Failure)
        self._answered().errback(done[0])

    def refuse(self) -> None:
        """The disk is full."""
        self._answered().errback(Busy("the disk is full"))

    def close(self) -> Deferred[None]:
        return self._inner.close()

    def _answered(self) -> Deferred[None]:
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        return waiting
