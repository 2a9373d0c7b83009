"""AMP's boxes, cut out of the bytes of a connection.

Note [Boxes by hand]
~~~~~~~~~~~~~~~~~~~~
Twisted hands each key and each value of a box through four methods, which took a fifth of a short command's time. Here
a box is cut out in one loop; of one that is not whole yet only the last key and value are looked at again.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp


class BoxCutter(amp.AMP):
    """AMP that takes its boxes apart itself, each of at most ``box_limit`` bytes; ``is_dropped``: takes no more."""

    def __init__(self, locator: Any = None) -> None:
        super().__init__(locator=locator)
        self.box_limit = 0
        self.is_dropped = False
        # What came and was not taken yet is in `_held` from `_at` on; `_coming` has what is there of the next box.
        self._held = b""
        self._at = 0
        self._coming = amp.AmpBox()
        self._bytes = 0

    def drop(self, why: str) -> None:
        """Give the connection up."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of what came; nothing more will."""
        self._held, self._at, self._coming = b"", 0, amp.AmpBox()
        self.is_dropped = True

    @property
    def is_holding(self) -> bool:
        """Whether something came that was not taken yet."""
        return self._at < len(self._held)

    def may_go_on(self) -> bool:
        """Asked after each box; whoever says no pauses, and goes on later."""
        return True

    def dataReceived(self, data: bytes) -> None:
        self._held, self._at = self._held[self._at :] + data, 0
        try:
            while not self.paused and not self.is_dropped and self._next_box() and self.may_go_on():
                pass
        except Exception as error:  # AMP raises whatever a malformed box trips over
            self.drop(f"not deployd's protocol ({type(error).__name__})")

    def _next_box(self) -> bool:
        """Take as much of a box as there is; whether it was the whole of it."""
        held, at, end, box = self._held, self._at, len(self._held), self._coming
        while at + 2 <= end:
            length = held[at] << 8 | held[at + 1]
            if length == 0:
                # First, as whoever takes it may pause, go on, and let more come in.
                self._at, self._coming, self._bytes = at + 2, amp.AmpBox(), 0
                self.ampBoxReceived(box)
                return True
            if length > amp.MAX_KEY_LENGTH:
                self.drop("a key longer than AMP allows")
                return False
            value = at + 2 + length
            if value + 2 > end:
                break
            size = held[value] << 8 | held[value + 1]
            if self._bytes + length + size > self.box_limit:
                self.drop("a box larger than allowed")
                return False
            past = value + 2 + size
            if past > end:
                break
            box[held[at + 2 : value]] = held[value + 2 : past]
            self._bytes += length + size
            at = past
        self._at = at
        return False
