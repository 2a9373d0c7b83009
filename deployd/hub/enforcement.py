"""Which limits of apps are in force, for ``deployctl status``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from deployd.model.drone import DroneDescription

NAMES, KINDS = 10, 20
"""As many are named of what may be hundreds of drones."""
UNKNOWN = "unknown"


def enforced(drones: Iterable[DroneDescription]) -> dict[str, str]:
    """The drones on which the same is in force, by what that is: ``{"rlimits, own users 1-9": "d1, d2"}``."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for drone in sorted(drones, key=lambda drone: drone.name):
        alike[", ".join(drone.enforces) or UNKNOWN].append(drone.name)
    return {what: _shown(names) for what, names in sorted(alike.items())[:KINDS]}


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more
