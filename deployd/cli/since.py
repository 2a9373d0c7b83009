"""``--since T``."""

from __future__ import annotations

import re
from datetime import datetime

from deployd.model.invalid import Invalid
from deployd.model.names import shown
from deployd.model.policy import duration

LATEST = 4e9
_NUMBER = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")


def since(text: str, now: float) -> float:
    """``90s``, ``10m``, ``2h``, ``7d`` before ``now``, an ISO time (local without a zone), or seconds since 1970.

    In seconds since 1970; raise Invalid.
    """
    if _NUMBER.fullmatch(text):
        moment = float(text)
    elif text[-1:] in "smhdw" and text[:1].isdigit():
        moment = now - duration("--since", text)
    else:
        try:
            moment = datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            moment = -1.0
    if not 0 <= moment < LATEST:
        raise Invalid(f"--since {shown(text)} is no time: write 10m, 2h, 2026-11-26T10:00:00Z, or seconds since 1970")
    return moment
