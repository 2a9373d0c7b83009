"""The hub's side of ``git push``: commands and a pack in, refs moved or a reason for each that was not.

Nothing of a push can be seen, or stays on disk, unless it is accepted: the pack is checked in quarantine, then, under
the lock of the refs, moved in and made reachable. A kill between these two leaves a pack that nothing points at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen
from dulwich.protocol import capability_agent

from deployd.git import pktlines
from deployd.git.history import History
from deployd.git.kinds import COMMIT, TAG
from deployd.git.limits import GitLimits
from deployd.git.packs import Packs
from deployd.git.problems import BadRequest, GitProblem
from deployd.git.quarantine import Quarantine
from deployd.git.refs import HEADS, Move, Refs, bad_name, move_refs, read_refs

CAPABILITIES = b"report-status delete-refs atomic quiet ofs-delta side-band-64k object-format=sha1 %b" % (
    capability_agent()
)
_ZERO = b"0" * 40
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0]+)", re.DOTALL)


@frozen
class RefUpdate:
    """A ref that moved. ``old`` or ``new`` is None when it was created or deleted; ids are 40 hex digits."""

    ref: str
    old: str | None
    new: str | None


@frozen
class Receipt:
    """The answer to a push: the report for the pusher and what really happened.

    ``talks`` says that there may be remarks before the report.
    """

    report: bytes
    updates: list[RefUpdate] = field(factory=list)
    talks: bool = False

    def answer(self, remarks: Sequence[str]) -> bytes:
        """The report, with ``remarks``, a line each, before it where the client shows such."""
        said = "".join(f"{remark}\n" for remark in remarks).encode() if self.talks else b""
        return pktlines.sideband(pktlines.SIDEBAND_PROGRESS, said) + self.report


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


def receive(repository: Path, stream: BinaryIO, limits: GitLimits) -> Receipt:
    """Take the push in ``stream`` (commands, then a pack) into ``repository``.

    Raise BadRequest when it is not a push at all; every other fault is in the report, so that the pusher reads why.
    """
    push = read_push(stream, limits)
    if not push.commands:
        return Receipt(b"")
    return _Reception(repository, limits, push, read_refs(repository)).receive(stream)


def not_stored(error: OSError) -> str:
    """Why the hub did not take a push, as its pusher reads it."""
    return f"the hub could not store it: {(error.strerror or 'input/output error').lower()}"


def read_push(stream: BinaryIO, limits: GitLimits) -> Push:
    """Read the commands of a push up to the flush; leave ``stream`` at the pack."""
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
        old, new = (None if value == _ZERO else value for value in (match[1], match[2]))
        commands.append(Command(match[3], old, new))
        if len(commands) > limits.commands:
            raise BadRequest(f"a push may change at most {limits.commands} refs at once")
    return Push(commands, capabilities)


@define
class _Reception:
    repository: Path
    limits: GitLimits
    push: Push
    refs: Refs
    _verdicts: dict[bytes, str] = field(init=False, factory=dict)

    def receive(self, stream: BinaryIO) -> Receipt:
        unpacked = "ok"
        self._judge_names()
        try:
            with (
                Packs(self.repository / "objects") as packs,
                Quarantine(self.repository / "objects", packs, self.limits) as quarantine,
            ):
                if any(command.new for command in self._standing()):
                    quarantine.take(stream)
                    quarantine.check()
                self._judge_tips(quarantine)
                self._move(quarantine)
        except GitProblem as problem:
            unpacked = str(problem)
        except OSError as error:
            unpacked = not_stored(error)
        return self._receipt(unpacked)

    def _standing(self) -> list[Command]:
        return [command for command in self.push.commands if command.name not in self._verdicts]

    def _judge_names(self) -> None:
        counts = Counter(command.name for command in self.push.commands)
        for command in self.push.commands:
            reason = bad_name(command.name)
            if not reason and counts[command.name] > 1:
                reason = "the ref is named twice"
            if not reason and command.old is None and command.new is None:
                reason = "there is nothing to delete"
            if not reason and command.new and len(self.refs.values) + len(counts) > self.limits.refs:
                reason = f"the repository may have at most {self.limits.refs} refs"
            if reason:
                self._verdicts[command.name] = reason
        self._spread_if_atomic()

    def _judge_tips(self, quarantine: Quarantine) -> None:
        history = History(quarantine.here)
        for command in self._standing():
            reason = self._tip(command, quarantine, history) if command.new else self._deletion(command)
            if reason:
                self._verdicts[command.name] = reason
        self._spread_if_atomic()

    def _deletion(self, command: Command) -> str:
        return "the default branch cannot be deleted" if command.name == self.refs.head else ""

    def _tip(self, command: Command, quarantine: Quarantine, history: History) -> str:
        assert command.new is not None
        new = bytes.fromhex(command.new.decode())
        kind = quarantine.kind(new)
        if kind is None:
            return "the object it would point at was not sent"
        if not command.name.startswith(HEADS):
            return ""
        if kind != COMMIT:
            return "a branch must point at a commit"
        # An old value that is not the present one loses when the refs move; there is nothing to compare with here.
        if command.old and self.refs.values.get(command.name) == command.old:
            old = bytes.fromhex(command.old.decode())
            if not history.descends(new, old, quarantine.census.parents):
                return "non-fast-forward"
        return ""

    def _move(self, quarantine: Quarantine) -> None:
        standing = self._standing()
        if not standing:
            return
        moves = [Move(c.name, c.old, c.new, self._peeled(c.new, quarantine)) for c in standing]
        verdicts = move_refs(
            self.repository, moves, atomic=b"atomic" in self.push.capabilities, before=quarantine.release
        )
        for command, verdict in zip(standing, verdicts, strict=True):
            self._verdicts[command.name] = verdict

    def _peeled(self, value: bytes | None, quarantine: Quarantine) -> bytes | None:
        if value is None:
            return None
        object_id = bytes.fromhex(value.decode())
        if quarantine.kind(object_id) != TAG:
            return None
        while object_id in quarantine.census.tags:
            object_id = quarantine.census.tags[object_id]
        if object_id not in quarantine.kinds:
            object_id = History(quarantine.here).peel(object_id)[1]
        return object_id.hex().encode()

    def _spread_if_atomic(self) -> None:
        if b"atomic" in self.push.capabilities and self._verdicts:
            for command in self._standing():
                self._verdicts[command.name] = "atomic push failed"

    def _receipt(self, unpacked: str) -> Receipt:
        lines = [b"unpack " + unpacked.encode() + b"\n"]
        updates = []
        for command in self.push.commands:
            verdict = self._verdicts.get(command.name, "unpacker error")
            if verdict:
                lines.append(b"ng " + command.name + b" " + verdict.encode() + b"\n")
            else:
                lines.append(b"ok " + command.name + b"\n")
                updates.append(RefUpdate(command.name.decode(), _text(command.old), _text(command.new)))
        talks = self.push.capabilities >= {b"report-status", b"side-band-64k"}
        return Receipt(self._report(lines), updates, talks)

    def _report(self, lines: list[bytes]) -> bytes:
        if b"report-status" not in self.push.capabilities:
            return b""
        report = b"".join(map(pktlines.line, lines)) + pktlines.FLUSH
        if b"side-band-64k" not in self.push.capabilities:
            return report
        return pktlines.sideband(pktlines.SIDEBAND_DATA, report) + pktlines.FLUSH


def _text(value: bytes | None) -> str | None:
    return value.decode() if value else None
