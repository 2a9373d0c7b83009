"""A reactor whose time only ever passes.

Note [The reactor's clock]
~~~~~~~~~~~~~~~~~~~~~~~~~~
Twisted's reactors schedule by ``time.time``: when someone sets the machine's clock forward, every lease and keepalive
of every connection would be over at once; set back, nothing would fall for hours. ``IReactorTime.seconds`` is any
growing number of seconds, so the daemons give their reactor the kernel's monotonic one before anything is scheduled.
"""

from __future__ import annotations

import time
from typing import Any


def monotonic(reactor: Any) -> Any:
    """``reactor``, with its ``seconds`` counted by a clock that nobody sets."""
    reactor.seconds = time.monotonic
    return reactor
