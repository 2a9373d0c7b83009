"""How far the check of a push is, in git's own words, for a pusher who would otherwise wonder."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import define, field

from deployd.git.packs.scanning import Step

PATIENCE = 1.0
_BETWEEN = 0.5


@define
class Progress:
    """``say`` is told texts that end in a carriage return, or in a line's end for the last of a stage.

    Nothing is said of what takes less than PATIENCE seconds, and not more than two texts a second.
    """

    say: Callable[[str], object] | None = None
    seconds: Callable[[], float] = time.monotonic
    _next: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = self.seconds() + PATIENCE

    def of(self, title: str, total: int) -> Step:
        """What to call with how many of ``total`` are done."""

        said = False

        def step(done: int) -> None:
            nonlocal said
            now = self.seconds()
            if self.say is not None and done >= total and said:
                self.say(f"{title}: 100% ({total}/{total}), done.\n")
            elif self.say is not None and now >= self._next and done < total:
                said, self._next = True, now + _BETWEEN
                self.say(f"{title}: {done * 100 // total:3}% ({done}/{total})\r")

        return step
