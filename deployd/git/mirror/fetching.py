"""The drone's side: exactly one commit from the hub, without its history, into a mirror of the app's repository.

It comes as a pack that is checked like a push, because a hub may be hostile too. It may lack what commits have that are
kept here. The commit counts as here only when the mirror has a ref on it, which is written last, once every object that
it needs was found. A mirror is only a copy: one that is damaged is emptied, and fetched anew.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

from deployd.errors import Refused
from deployd.git.bare import clear_bare, is_bare, make_bare
from deployd.git.disk import locked
from deployd.git.kinds import COMMIT
from deployd.git.limits import GitLimits
from deployd.git.mirror.checkouts import MIRROR
from deployd.git.mirror.closure import closure
from deployd.git.mirror.pruning import prune
from deployd.git.mirror.reading import Damaged, MirrorReader, sound
from deployd.git.mirror.transfer import Request, Source
from deployd.git.packs.store import Packs
from deployd.git.problems import BadRefs, GitProblem
from deployd.git.receiving.quarantine import Quarantine
from deployd.git.refs import DEPLOY, Move, move_refs, read_refs

_IN_MEMORY = 1 << 20
_MAX_HAVES = 256
_LOCK = "fetch-lock"


class _Wrong(Exception):
    """What the hub sent, with what is here, is not the commit; the text says why."""


def fetch(mirror: Path, source: Source, commit: str, timeout: float, limits: GitLimits) -> None:
    """Bring ``commit`` (40 hex digits) from ``source`` into ``mirror``, which is made when missing.

    The hub gives it when it is in a branch or tag, or was deployed. Two fetches into one mirror wait for each
    other. ``timeout`` is for everything, in seconds. Raise Unreachable, Busy, SecretRefused, UnknownApp, UnknownCommit
    or Refused, each with one sentence and never with the token.
    """
    deadline = time.monotonic() + timeout
    create_mirror(mirror)
    with locked(mirror / _LOCK, timeout):
        if has(mirror, commit):
            return
        _clear(mirror)
        try:
            try:
                _bring(mirror, Request(source, commit, commits(mirror)[-_MAX_HAVES:], deadline), limits)
            except _Wrong:
                # One of the two is wrong about what is here; what comes then does not need it.
                if _is_whole(mirror) and not commits(mirror):
                    raise
                _bring(mirror, Request(source, commit, (), deadline), limits)
        except _Wrong as error:
            raise Refused(f"the hub sent a pack that is not right: {error}") from error


def has(mirror: Path, commit: str) -> bool:
    """Whether ``commit`` and all its files are in ``mirror``."""
    with suppress(KeyError, Damaged, BadRefs):
        if DEPLOY + commit.encode() in read_refs(mirror).values:
            with MirrorReader(mirror / "objects") as reader:
                return reader.kind(reader.place(bytes.fromhex(commit))) == COMMIT
    return False


def commits(mirror: Path) -> tuple[str, ...]:
    """The commits that were brought into ``mirror``."""
    return tuple(name[len(DEPLOY) :].decode() for name in read_refs(mirror).values if name.startswith(DEPLOY))


def create_mirror(mirror: Path) -> None:
    """Make an empty mirror unless it is there. Nobody waits for the disk: after a power cut it is made again."""
    if not is_bare(mirror):
        make_bare(mirror, mirror.parent, MIRROR, durable=False)


def keep(mirror: Path, kept: Collection[str]) -> None:
    """Keep no other commits than those, and nothing for long that only others need.

    The caller sees to it that nobody is checking out another one.
    """
    if not mirror.is_dir():
        return
    with locked(mirror / _LOCK):
        _clear(mirror)
        _drop(mirror, set(commits(mirror)) - set(kept))
        _prune(mirror)


def empty(mirror: Path) -> None:
    """Begin anew: what is here is damaged."""
    if mirror.is_dir():
        with locked(mirror / _LOCK):
            _clear(mirror)
            _empty(mirror)


def _bring(mirror: Path, request: Request, limits: GitLimits) -> None:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(mirror)) as pack:
        request.download(cast(BinaryIO, pack), limits.pack_bytes)
        pack.seek(0)
        try:
            store(mirror, request.commit, cast(BinaryIO, pack), limits)
        except OSError as error:
            raise Refused(f"commit {request.commit[:12]} could not be stored: {error.strerror}") from error


def store(mirror: Path, commit: str, pack: BinaryIO, limits: GitLimits) -> None:
    """Take ``commit`` out of ``pack`` and what is here; nothing stays when it is not whole."""
    objects = mirror / "objects"
    try:
        with sound(), Packs(objects) as packs, Quarantine(objects, packs, limits, charted=False) as quarantine:
            quarantine.take(pack)
            quarantine.release()
    except (GitProblem, Damaged) as problem:
        raise _Wrong(str(problem)) from problem
    try:
        with MirrorReader(objects) as reader:
            closure(reader, [commit])
    except (KeyError, Damaged) as error:
        _prune(mirror)
        raise _Wrong(f"not all of commit {commit[:12]} is there") from error
    _say_shallow(mirror, {commit, *commits(mirror)})
    move_refs(mirror, [Move(DEPLOY + commit.encode(), None, commit.encode())])


def _clear(mirror: Path) -> None:
    clear_bare(mirror)
    for pack in (mirror / "objects/pack").glob("*.pack"):
        if not pack.with_suffix(".idx").exists():
            pack.unlink(missing_ok=True)
    try:
        read_refs(mirror)
    except BadRefs:
        # Without them nothing counts as here.
        (mirror / "packed-refs").unlink()


def _is_whole(mirror: Path) -> bool:
    """Whether everything is here that should be; a mirror that is damaged is empty afterwards."""
    try:
        with MirrorReader(mirror / "objects") as reader:
            closure(reader, commits(mirror))
    except (KeyError, Damaged):
        _empty(mirror)
        return False
    return True


def _prune(mirror: Path) -> None:
    try:
        prune(mirror, commits(mirror))
    except (KeyError, Damaged):
        _empty(mirror)


def _empty(mirror: Path) -> None:
    """Begin anew. The refs go first: without them nothing counts as here."""
    _drop(mirror, commits(mirror))
    packs = mirror / "objects" / "pack"
    for path in sorted(packs.iterdir()) if packs.is_dir() else ():
        path.unlink(missing_ok=True)
    (mirror / "shallow").unlink(missing_ok=True)


def _drop(mirror: Path, gone: Iterable[str]) -> None:
    moves = [Move(DEPLOY + commit.encode(), commit.encode(), None) for commit in gone]
    if moves:
        move_refs(mirror, moves)


def _say_shallow(mirror: Path, shallow: Collection[str]) -> None:
    """Say for git that no commit's parents are here: those that are may go at any time. Only git reads that."""
    lock = mirror / "shallow.lock"
    lock.write_text("".join(f"{commit}\n" for commit in sorted(shallow)))
    lock.replace(mirror / "shallow")
