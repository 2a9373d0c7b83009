"""How processes end."""

from __future__ import annotations

import signal as signals

from attrs import frozen

_KNOWN_CODES = {126: "the command is not executable", 127: "command not found"}


@frozen
class Exit:
    """How a process ended: by itself with ``code``, or by ``signal``; the other is None.

    Both are None where nobody could see it, as its keeper had died.
    """

    code: int | None
    signal: int | None = None

    @property
    def text(self) -> str:
        """For people: ``exited with code 1``, ``was ended by SIGKILL``."""
        if self.signal is not None:
            try:
                return f"was ended by {signals.Signals(self.signal).name}"
            except ValueError:
                return f"was ended by signal {self.signal}"
        if self.code is None:
            return "was lost: its keeper has died"
        known = _KNOWN_CODES.get(self.code or 0)
        return f"exited with code {self.code}" + (f" ({known})" if known else "")
