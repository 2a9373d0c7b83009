"""What the hub sees of one drone."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from deployd.model.instance import ObservedInstance, State

HOPELESS_FAILURES = 6


@frozen
class View:
    """``current``: the report is of the newest assignment, so it tells of what is wanted now and not of what was.

    ``trouble`` is why the drone did not take its assignment when it was last asked.
    """

    connected: bool = False
    current: bool = False
    instances: Mapping[str, ObservedInstance] = field(factory=dict, hash=False)
    trouble: str = ""


UNSEEN = View()


def is_hopeless(seen: ObservedInstance) -> bool:
    """Whether waiting for it to become ready, or to end well, is in vain."""
    return seen.state is State.FAILED or seen.fatal or seen.failures >= HOPELESS_FAILURES
