"""The hub's side of ``git push``: commands and a pack in, refs moved or a reason for each that was not.

Nothing of a push can be seen, or stays on disk, unless it is accepted: the pack is checked in quarantine, then, under
the lock of the refs, moved in and made reachable. A kill between these two leaves a pack that nothing points at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

from deployd.git import pktlines
from deployd.git.disk import locked
from deployd.git.intents import forget_intent, write_intent
from deployd.git.kinds import COMMIT, TAG
from deployd.git.limits import GitLimits
from deployd.git.packs.objects import Objects
from deployd.git.problems import GitProblem
from deployd.git.receiving.descent import descends
from deployd.git.receiving.here import Charted
from deployd.git.receiving.progress import Progress
from deployd.git.receiving.push_request import Command, Push, read_push
from deployd.git.receiving.quarantine import Quarantine
from deployd.git.receiving.receipt import Receipt, RefUpdate
from deployd.git.receiving.rules import PushRules
from deployd.git.refs import HEADS, LOCK, Move, Refs, bad_name, move_refs, read_refs
from deployd.model.intent import Intent
from deployd.model.invalid import Invalid
from deployd.model.push_options import PushOptions

NO_RULES = PushRules()


@frozen(kw_only=True)
class Listener:
    """Who wants to know how a push gets on.

    ``begun`` is told, before the pack is read, whether the pusher can be talked to. ``progress`` then gets texts that
    end as git's do: in a carriage return while a number grows, else in a newline.
    """

    begun: Callable[[bool], object] = lambda talks: None
    progress: Callable[[str], object] = lambda text: None


def receive(
    repository: Path,
    stream: BinaryIO,
    limits: GitLimits,
    rules: PushRules = NO_RULES,
    *,
    objects: Objects | None = None,
    listener: Listener | None = None,
    intent: str = "",
) -> Receipt:
    """Take the push in ``stream`` (commands, options, then a pack) into ``repository``.

    ``objects`` are the repository's, when somebody has them open. ``intent``: the id for a deploy that the push asks
    for, when somebody sees to it that it is carried out. Raise BadRequest when it is not a push at all; every
    other fault is in the report, so that the pusher reads why.
    """
    push = read_push(stream, limits)
    if not push.commands:
        return Receipt(b"")
    listener = listener or Listener()
    listener.begun(push.talks)
    progress = Progress(listener.progress if push.talks and not push.quiet else None)
    opened = objects or Objects(repository)
    try:
        refs = read_refs(repository)
        return _Reception(repository, limits, rules, push, intent, refs, opened).receive(stream, progress)
    finally:
        if objects is None:
            opened.close()


def not_stored(error: OSError) -> str:
    """Why the hub did not take a push, as its pusher reads it."""
    return f"the hub could not store it: {(error.strerror or 'input/output error').lower()}"


@define
class _Reception:
    repository: Path
    limits: GitLimits
    rules: PushRules
    push: Push
    intent: str
    refs: Refs
    objects: Objects
    _verdicts: dict[bytes, str] = field(init=False, factory=dict)
    _forced: set[bytes] = field(init=False, factory=set)
    _commits: dict[bytes, int] = field(init=False, factory=dict)
    _options: PushOptions = field(init=False, factory=PushOptions)
    _target: str = field(init=False, default="")
    _intent: str = field(init=False, default="")

    def receive(self, stream: BinaryIO, progress: Progress) -> Receipt:
        unpacked = "ok"
        self._judge_options()
        self._judge_names()
        directory = self.repository / "objects"
        try:
            with Quarantine(directory, Charted(self.objects), self.limits, progress=progress) as quarantine:
                # Now this push can be seen (Note [Dropping beside pushes] in deployd.git.packs.dropping).
                with locked(self.repository / LOCK):
                    pass
                self.objects.refresh()
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

    def _judge_options(self) -> None:
        try:
            self._options = PushOptions.parse(self.push.options)
            self._target = self._options.target(self.push.arriving(), self.rules.policy.deploy_branch)
        except Invalid as problem:
            self._verdicts = {command.name: str(problem) for command in self.push.commands}

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
                self._verdicts.setdefault(command.name, reason)
        self._spread_if_atomic()

    def _judge_tips(self, quarantine: Quarantine) -> None:
        for command in self._standing():
            reason = self._tip(command, quarantine) if command.new else self._deletion(command)
            if reason:
                self._verdicts[command.name] = reason
        self._spread_if_atomic()

    def _deletion(self, command: Command) -> str:
        if command.name == self.refs.head:
            return "the default branch cannot be deleted"
        return self.rules.deleting(command.name.decode())

    def _tip(self, command: Command, quarantine: Quarantine) -> str:
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
            if not descends(new, old, quarantine.census.parents, self.objects.graph):
                self._forced.add(command.name)
                return self.rules.forcing(command.name.decode())
        return ""

    def _move(self, quarantine: Quarantine) -> None:
        standing = self._standing()
        if not standing:
            return
        self._count(standing, quarantine)
        moves = [Move(c.name, c.old, c.new, self._peeled(c.new, quarantine)) for c in standing]
        try:
            verdicts = move_refs(
                self.repository,
                moves,
                atomic=b"atomic" in self.push.capabilities,
                before=lambda names: self._prepare(names, quarantine),
            )
        except BaseException:
            forget_intent(self.repository, self._intent)
            raise
        for command, verdict in zip(standing, verdicts, strict=True):
            self._verdicts[command.name] = verdict

    def _prepare(self, names: frozenset[bytes], quarantine: Quarantine) -> None:
        """Have on the disk what the refs need that will move, and what follows from that."""
        quarantine.release()
        for command in self.push.commands:
            if self.intent and command.new and command.name in names and command.name == self._target.encode():
                self._intent = self.intent
                old, new = _text(command.old), command.new.decode()
                write_intent(self.repository, Intent(self.intent, self._target, old, new, self.push.options))

    def _count(self, commands: list[Command], quarantine: Quarantine) -> None:
        """The new commits of each ref, each counted once: all refs together cost one walk over the pack's commits."""
        parents, known = quarantine.census.parents, set[bytes]()
        for command in commands:
            before, waiting = len(known), [bytes.fromhex(command.new.decode())] if command.new else []
            while waiting:
                commit = waiting.pop()
                if commit in parents and commit not in known:
                    known.add(commit)
                    waiting += parents[commit]
            self._commits[command.name] = len(known) - before

    def _peeled(self, value: bytes | None, quarantine: Quarantine) -> bytes | None:
        if value is None:
            return None
        object_id = bytes.fromhex(value.decode())
        if quarantine.kind(object_id) != TAG:
            return None
        tags = quarantine.census.tags
        while quarantine.kind(object_id) == TAG:
            object_id = tags[object_id] if object_id in tags else self.objects.graph.tags[object_id]
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
                updates.append(self._update(command))
        report = self._report(lines)
        return Receipt(report, updates, self.push.talks, self._options, self._target, self._intent)

    def _update(self, command: Command) -> RefUpdate:
        commits, forced = self._commits.get(command.name, 0), command.name in self._forced
        return RefUpdate(command.name.decode(), _text(command.old), _text(command.new), commits, forced)

    def _report(self, lines: list[bytes]) -> bytes:
        if not self.push.wants_report:
            return b""
        report = b"".join(map(pktlines.line, lines)) + pktlines.FLUSH
        if not self.push.talks:
            return report
        return pktlines.sideband(pktlines.SIDEBAND_DATA, report)


def _text(value: bytes | None) -> str | None:
    return value.decode() if value else None
