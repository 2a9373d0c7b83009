"""The refs of one repository: all in its ``packed-refs`` file, so that any number of them moves in one rename.

Loose refs that a person made with git itself are read, and folded into the file by the next change. Names and ids are
bytes, ids 40 hex digits; ``refs/deploy/*`` is the hub's own and never shown to, or taken from, a pusher.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from attrs import Factory, define, field, frozen
from dulwich.refs import Ref, check_ref_format

from deployd.git.disk import locked, replace_file
from deployd.git.problems import BadRefs

HEADS, TAGS, DEPLOY = b"refs/heads/", b"refs/tags/", b"refs/deploy/"
DEFAULT_BRANCH = b"refs/heads/master"
LOCK = "deployd-lock"
_PACKED = re.compile(rb"^([0-9a-f]{40}) ([^\n]+)\n(?:\^([0-9a-f]{40})\n)?", re.MULTILINE)
_SLASH = re.compile(rb"/")
_HEADER = b"# pack-refs with: peeled fully-peeled sorted \n"


@frozen
class Refs:
    """What a repository's refs were at one moment. ``peeled``: tag ref -> what its tag points at in the end."""

    values: dict[bytes, bytes] = Factory(dict)
    peeled: dict[bytes, bytes] = Factory(dict)
    head: bytes = DEFAULT_BRANCH

    def shown(self, deployed: bool) -> dict[bytes, bytes]:
        """The refs that a reader may see; a drone (``deployed``) also sees what was deployed."""
        prefixes = (HEADS, TAGS, DEPLOY) if deployed else (HEADS, TAGS)
        return {name: value for name, value in self.values.items() if name.startswith(prefixes)}


@frozen
class Move:
    """One ref from ``old`` to ``new``; None: not there. ``peeled``: what ``new`` points at when it is a tag object."""

    name: bytes
    old: bytes | None
    new: bytes | None
    peeled: bytes | None = None


def read_refs(repository: Path) -> Refs:
    """Read all refs. A repository without any gives an empty answer; raise BadRefs when their file is damaged."""
    values, peeled = _packed(repository)
    return _with_loose(repository, values, peeled, _loose(repository))


@define(eq=False)
class WatchedRefs:
    """The refs of a repository that is read again and again: its ``packed-refs`` is parsed only when it has changed.

    Whoever changes it does so by a rename, so that another file is known by its number, time and size. Reading costs a
    look at three names; with 10,000 refs parsing costs a hundred times more.
    """

    repository: Path
    _mark: object = field(init=False, default=None)
    _packed: tuple[dict[bytes, bytes], dict[bytes, bytes]] = field(init=False, factory=lambda: ({}, {}))
    _others: object = field(init=False, default=None)
    _refs: Refs = field(init=False, factory=Refs)

    def read(self) -> Refs:
        """All refs as they are now; the same object for as long as nothing has changed. Nobody may change it."""
        # The mark before the file: one that is replaced between the two is read again the next time.
        mark, others = _mark(self.repository / "packed-refs"), (_loose(self.repository), _head(self.repository))
        if mark != self._mark or others != self._others:
            if mark != self._mark:
                self._packed = _packed(self.repository)
            values, peeled = self._packed
            self._refs = _with_loose(self.repository, dict(values), dict(peeled), others[0])
            self._mark, self._others = mark, others
        return self._refs


def move_refs(
    repository: Path,
    moves: Sequence[Move],
    *,
    atomic: bool = False,
    before: Callable[[frozenset[bytes]], object] = lambda names: None,
) -> list[str]:
    """Make ``moves`` whose old value is still right, in one step; return for each why it lost, or "".

    ``before`` runs under the lock with the names of the refs that will move, when there is one, and must leave
    everything that their new values need durable. With ``atomic``, one loser makes all lose.
    """
    with locked(repository / LOCK):
        refs = read_refs(repository)
        table = _Table(refs.head, dict(refs.values), dict(refs.peeled))
        verdicts = [table.apply(move) for move in moves]
        if atomic and any(verdicts):
            return [verdict or "atomic push failed" for verdict in verdicts]
        if all(verdicts):
            return verdicts
        _follow_first_branch(repository, refs, table.values, moves)
        names = frozenset(move.name for move, verdict in zip(moves, verdicts, strict=True) if not verdict)
        replace_file(repository / "packed-refs", table.text(), partial(before, names))
        _drop_loose(repository, refs.values)
        return verdicts


def bad_name(name: bytes) -> str | None:
    """Why a pusher may not use ``name`` for a ref, or None."""
    if not name.startswith((HEADS, TAGS)):
        return "deployd takes only branches and tags"
    parts = name.split(b"/")
    if len(name) > 1000 or any(len(part) > 200 for part in parts) or len(parts) > 50:
        return "the name is too long"
    try:
        name.decode()
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    return None if check_ref_format(Ref(name)) else "funny refname"


@define
class _Table:
    """Refs that change. ``_below``: how many of them are in each directory; counted when a ref is first created."""

    head: bytes
    values: dict[bytes, bytes]
    peeled: dict[bytes, bytes]
    _below: Counter[bytes] = field(init=False, factory=Counter)

    def apply(self, move: Move) -> str:
        """Make one move; return why that cannot be, or ""."""
        if self.values.get(move.name) != move.old:
            if move.name not in self.values:
                return "the ref is not there"
            return "the ref has moved meanwhile; fetch first" if move.old else "the ref is there already; fetch first"
        if move.new is None:
            if move.name == self.head:
                return "the default branch cannot be deleted"
            if self.values.pop(move.name, None) and self._below:
                self._below.subtract(_directories(move.name))
            self.peeled.pop(move.name, None)
            return ""
        if move.old is None:
            rival = self._rival(move.name)
            if rival:
                return f"{rival.decode('utf-8', 'replace')} is in the way"
            self._below.update(_directories(move.name))
        self.values[move.name] = move.new
        self.peeled.pop(move.name, None)
        if move.peeled:
            self.peeled[move.name] = move.peeled
        return ""

    def text(self) -> bytes:
        """The content of ``packed-refs``."""
        lines = [_HEADER]
        for name in sorted(self.values):
            lines.append(self.values[name] + b" " + name + b"\n")
            if name in self.peeled:
                lines.append(b"^" + self.peeled[name] + b"\n")
        return b"".join(lines)

    def _rival(self, name: bytes) -> bytes | None:
        """A ref that could not be a file beside ``name``, because one would have to be the other's directory."""
        if not self._below:
            self._below.update(directory for other in self.values for directory in _directories(other))
        if self._below[name] > 0:
            return min(other for other in self.values if other.startswith(name + b"/"))
        return next((directory for directory in _directories(name) if directory in self.values), None)


def _directories(name: bytes) -> list[bytes]:
    """``refs``, ``refs/heads`` and so on, up to the one that ``name`` lies in."""
    return [name[: found.start()] for found in _SLASH.finditer(name)]


def _follow_first_branch(repository: Path, refs: Refs, values: dict[bytes, bytes], moves: Sequence[Move]) -> None:
    # Before the refs: a HEAD that names a branch which does not come is as good as the one before.
    if refs.head in refs.values:
        return
    created = [move.name for move in moves if move.new and values.get(move.name) == move.new]
    branches = [name for name in created if name.startswith(HEADS)]
    if branches and not any(name.startswith(HEADS) for name in refs.values):
        preferred = [name for name in (b"refs/heads/main", DEFAULT_BRANCH) if name in branches]
        replace_file(repository / "HEAD", b"ref: " + (preferred or branches)[0] + b"\n")


def _packed(repository: Path) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    try:
        text = (repository / "packed-refs").read_bytes()
    except FileNotFoundError:
        text = b""
    lines = _PACKED.findall(text)
    remarks = text.startswith(b"#") + text.count(b"\n#")
    if text.count(b"\n") != len(lines) + sum(1 for line in lines if line[2]) + remarks or text[-1:] not in (b"", b"\n"):
        # The next change would drop what is not understood.
        raise BadRefs("packed-refs is damaged: a line of it is no ref")
    return {name: value for value, name, _ in lines}, {name: peeled for _, name, peeled in lines if peeled}


def _with_loose(
    repository: Path, values: dict[bytes, bytes], peeled: dict[bytes, bytes], loose: Iterable[tuple[bytes, bytes]]
) -> Refs:
    for name, value in loose:
        values[name] = value
        peeled.pop(name, None)
    return Refs(values, peeled, _head(repository))


def _head(repository: Path) -> bytes:
    head = b"".join(_lines(repository / "HEAD")[:1])
    return head[5:].strip() if head.startswith(b"ref: ") else DEFAULT_BRANCH


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line and not line.startswith(b"#")]
    except FileNotFoundError:
        return []


def _loose(repository: Path) -> list[tuple[bytes, bytes]]:
    found = []
    for directory, _, files in os.walk(repository / "refs"):
        for file in files:
            path = Path(directory, file)
            name = os.fsencode(path.relative_to(repository))
            if not check_ref_format(Ref(name)):
                continue
            value = path.read_bytes()[:41].strip()
            if len(value) == 40:
                found.append((name, value))
    return found


def _drop_loose(repository: Path, known: Iterable[bytes]) -> None:
    names = set(known)
    for name, _ in _loose(repository):
        if name in names:
            (repository / os.fsdecode(name)).unlink(missing_ok=True)
