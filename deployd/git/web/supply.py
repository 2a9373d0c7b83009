"""What there is of an answer so far: bytes, and slices of files, of which the last may still grow; for many readers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen


@frozen
class Slice:
    """``file`` (an open descriptor) from ``start`` up to ``end``."""

    file: int
    start: int
    end: int


@define(eq=False)
class Supply:
    """``ended``: nothing more will come; with a ``problem``, because it could not be made to the end.

    ``remarks``: what may be said of it behind ``remote:``.
    """

    pieces: list[bytes | Slice] = field(factory=list)
    remarks: list[str] = field(factory=list)
    ended: bool = False
    problem: Exception | None = None
    _watchers: list[Callable[[], None]] = field(init=False, factory=list)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever there is more, or nothing more will come."""
        self._watchers.append(changed)

    def unwatch(self, changed: Callable[[], None]) -> None:
        """Call it no more."""
        if changed in self._watchers:
            self._watchers.remove(changed)

    def grow(self, file: int, size: int) -> None:
        """``file`` is the only piece, and there are ``size`` bytes of it by now."""
        self.pieces[:] = [Slice(file, 0, size)]
        self._tell()

    def end(self, pieces: list[bytes | Slice], remarks: list[str]) -> None:
        """These are all; what was there before is the beginning of it."""
        self.pieces[:] = pieces
        self.remarks = remarks
        self.ended = True
        self._tell()

    def fail(self, problem: Exception) -> None:
        """It cannot be made."""
        self.ended, self.problem = True, problem
        self._tell()

    def _tell(self) -> None:
        for watcher in list(self._watchers):
            watcher()


@define(eq=False)
class Reader:
    """One reader's place in a supply."""

    supply: Supply
    _piece: int = field(init=False, default=0)
    _at: int = field(init=False, default=0)

    def next(self, most: int) -> bytes | Slice | None:
        """What comes next, of ``most`` bytes at most; None: nothing for now, or for ever when the supply has ended."""
        while self._piece < len(self.supply.pieces):
            piece = self.supply.pieces[self._piece]
            size = len(piece) if isinstance(piece, bytes) else piece.end - piece.start
            if self._at < size:
                end = min(size, self._at + most)
                if isinstance(piece, bytes):
                    return piece[self._at : end]
                return Slice(piece.file, piece.start + self._at, piece.start + end)
            if self._piece + 1 == len(self.supply.pieces) and not self.supply.ended:
                break
            self._piece, self._at = self._piece + 1, 0
        return None

    def advance(self, size: int) -> None:
        """So much of what was next has been taken."""
        self._at += size
