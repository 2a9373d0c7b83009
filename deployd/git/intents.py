"""Deploys that pushes ask for, kept in the repository until they are saved: ``deployd/deploy-ID.json``.

Note [Refs, then the deploy]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
Refs are moved by a worker, here; a deploy is saved by the hub, in its database: a kill may come between. So the worker
writes an intent, durably, under the lock of the refs, before they move. Who finds one later, with the lock, knows what
became of its push: if the ref is still where it was, it never moved, and the intent goes; if it is anywhere else, it
moved, for nobody else could move it between the intent and the refs. It may have moved on since; what was asked for
holds nevertheless. The hub removes an intent when its deploy is saved, or refused. It saves the intent's id with the
deploy, so that an intent that outlived a kill after that is not a second deploy.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from attrs import asdict

from deployd.git.disk import locked, replace_file, sync_directory
from deployd.git.packs.chart import DIRECTORY
from deployd.git.refs import LOCK, read_refs
from deployd.model.intent import Intent

_NAME = "deploy-{}.json"


def write_intent(repository: Path, intent: Intent) -> None:
    """Have ``intent`` on the disk; the caller holds the lock of the refs. Raise OSError."""
    directory = repository / DIRECTORY
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        sync_directory(repository)
    replace_file(directory / _NAME.format(intent.id), json.dumps(asdict(intent)).encode())


def forget_intent(repository: Path, id: str) -> None:
    """Remove an intent, if it is there. Raise OSError."""
    (repository / DIRECTORY / _NAME.format(id)).unlink(missing_ok=True)


def moved_intents(repository: Path, id: str = "*") -> list[Intent]:
    """The intents, or the one called ``id``, whose refs have moved, in the order of their pushes; others are removed.

    Raise Busy, OSError.
    """
    directory, name = repository / DIRECTORY, _NAME.format(id)
    moved: list[Intent] = []
    # Most repositories have none: those are not locked.
    if not any(directory.glob(name)):
        return moved
    with locked(repository / LOCK):
        refs = read_refs(repository).values
        for path in sorted(directory.glob(name), key=lambda path: path.stat().st_mtime_ns):
            intent = _read(path)
            if intent is not None and _has_moved(intent, refs.get(intent.ref.encode())):
                moved.append(intent)
            else:
                path.unlink()
    return moved


def _read(path: Path) -> Intent | None:
    """None for what is none: the disk is damaged."""
    try:
        return Intent(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        return None


def _has_moved(intent: Intent, now: bytes | None) -> bool:
    value = now.decode() if now else None
    return value == intent.new or value != intent.old
