"""What became of a push: what its pusher reads of it, and what the hub goes on with."""

from __future__ import annotations

from attrs import field, frozen

from deployd.git import pktlines
from deployd.model.push_options import PushOptions


@frozen
class RefUpdate:
    """A ref that moved. ``old`` or ``new`` is None when it was created or deleted; ids are 40 hex digits.

    ``commits``: how many came with it that no other ref before it in the push has; ``forced``: history was rewritten.
    """

    ref: str
    old: str | None
    new: str | None
    commits: int = field(default=0, eq=False)
    forced: bool = field(default=False, eq=False)


@frozen
class Receipt:
    """The answer to a push: the report for the pusher and what really happened.

    ``talks``: the pusher shows remarks. ``target`` is the ref that ``options``, or the app's policy, ask to deploy, if
    they do, and ``intent`` the id of what was written of that (deployd.git.intents).
    """

    report: bytes
    updates: list[RefUpdate] = field(factory=list)
    talks: bool = False
    options: PushOptions = field(factory=PushOptions)
    target: str = ""
    intent: str = ""

    def remark(self, text: str) -> bytes:
        """``text`` as the pusher's git shows it; nothing where it does not."""
        return pktlines.sideband(pktlines.SIDEBAND_PROGRESS, f"{text}\n".encode()) if self.talks else b""

    @property
    def end(self) -> bytes:
        """What follows the report and all remarks."""
        return pktlines.FLUSH if self.talks else b""
