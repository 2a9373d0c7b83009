"""What a pusher asks for, before its pack: which refs should move, and ``git push -o`` options."""

from __future__ import annotations

import re
from typing import BinaryIO

from attrs import frozen

from deployd.git import pktlines
from deployd.git.limits import GitLimits
from deployd.git.problems import BadRequest

_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0]+)", re.DOTALL)


@frozen
class Command:
    """One line of a push; None: not there."""

    name: bytes
    old: bytes | None
    new: bytes | None


@frozen
class Push:
    """What a pusher asks for, before its pack."""

    commands: list[Command]
    capabilities: frozenset[bytes]
    options: tuple[str, ...] = ()

    @property
    def wants_report(self) -> bool:
        """Whether the pusher reads what became of its commands; both forms of the report are the same here."""
        return not self.capabilities.isdisjoint((b"report-status", b"report-status-v2"))

    @property
    def talks(self) -> bool:
        """Whether the pusher can be told something beside the report."""
        return self.wants_report and b"side-band-64k" in self.capabilities

    @property
    def quiet(self) -> bool:
        """Whether the pusher wants to see no progress."""
        return b"quiet" in self.capabilities

    def arriving(self) -> dict[str, str]:
        """What it would make of refs, but for those that it deletes."""
        return {c.name.decode("utf-8", "replace"): c.new.decode() for c in self.commands if c.new is not None}


def read_push(stream: BinaryIO, limits: GitLimits) -> Push:
    """Read the commands and options of a push; leave ``stream`` at the pack."""
    commands: list[Command] = []
    capabilities: frozenset[bytes] = frozenset()
    while (content := pktlines.read_line(stream)) is not None:
        content, _, words = content.partition(b"\0")
        if words:
            capabilities |= frozenset(words.split())
        content = content.removesuffix(b"\n")
        if content.startswith(b"shallow "):
            # A shallow pusher: whether its boundary is known here shows in the check of the objects.
            continue
        match = _COMMAND.fullmatch(content)
        if not match:
            raise BadRequest("the request has a line that is not a push command")
        old, new = (None if value == pktlines.ZERO else value for value in (match[1], match[2]))
        commands.append(Command(match[3], old, new))
        if len(commands) > limits.commands:
            raise BadRequest(f"a push may change at most {limits.commands} refs at once")
    options = _read_options(stream, limits) if commands and b"push-options" in capabilities else ()
    return Push(commands, capabilities, options)


def _read_options(stream: BinaryIO, limits: GitLimits) -> tuple[str, ...]:
    options: list[str] = []
    while (content := pktlines.read_line(stream)) is not None:
        if len(options) == limits.push_options or len(content) > limits.option_bytes:
            raise BadRequest(
                f"a push may have at most {limits.push_options} options of {limits.option_bytes} bytes each"
            )
        options.append(content.removesuffix(b"\n").decode("utf-8", "replace"))
    return tuple(options)
