"""A commit's files in a directory: whole or not at all, and never outside of it.

The tree is written beside its place, and then renamed into it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.errors import UnknownCommit
from deployd.git.disk import delete_tree
from deployd.git.limits import GitLimits
from deployd.git.mirror import marks
from deployd.git.mirror.checkouts import NEW, remove
from deployd.git.mirror.fetching import commits, empty
from deployd.git.mirror.layout import Layout
from deployd.git.mirror.reading import Damaged, MirrorReader
from deployd.git.mirror.writing import Writer


def checkout(mirror: Path, commit: str, target: Path, limits: GitLimits) -> None:
    """Write the files of ``commit`` (40 hex digits, complete in ``mirror``) to the new directory ``target``.

    Does nothing when ``target`` is there. Raise UnknownCommit, or Refused with the entry's name in the sentence. See
    ``marks`` about power cuts.
    """
    if target.is_dir():
        if not marks.is_hollow(target):
            return
        remove(target)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=NEW, dir=target.parent))
    try:
        with _reader(mirror, commit) as reader:
            Writer(reader).write(Layout(reader, limits).read(bytes.fromhex(commit)), new)
        new.chmod(0o755)
        marks.mark(target)
        try:
            new.rename(target)
        except OSError:
            # Another checkout of the same commit came first; it is as good.
            if not target.is_dir():
                raise
    finally:
        delete_tree(new)


def size(mirror: Path, commit: str, limits: GitLimits) -> int:
    """The bytes on disk that a checkout of ``commit`` takes, about; raise as ``checkout`` does."""
    with _reader(mirror, commit) as reader:
        layout = Layout(reader, limits)
        layout.read(bytes.fromhex(commit))
        return layout.room


@contextmanager
def _reader(mirror: Path, commit: str) -> Iterator[MirrorReader]:
    """A mirror that has not what it says it has is emptied, so that the next fetch brings all anew."""
    try:
        with MirrorReader(mirror / "objects") as reader:
            yield reader
    except (KeyError, Damaged) as error:
        if commit in commits(mirror):
            empty(mirror)
        raise UnknownCommit(f"commit {commit[:12]} is not whole on this drone; it is fetched anew") from error
