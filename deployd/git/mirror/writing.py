"""Writing the files of a layout, by names relative to open directories, so that no link can lead a write elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import define

from deployd.errors import Refused
from deployd.git.kinds import LINK
from deployd.git.mirror.layout import Directory, Leaf, shown
from deployd.git.mirror.parts import in_parts
from deployd.git.mirror.reading import LARGE, MirrorReader

_LFS = b"version https://git-lfs.github.com/spec/v1"
_MAX_POINTER = 1024
_MAX_LINK = 4095
_PART, _MOST_PARTS = 250, 3
"""So many files are worth another process."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@define
class Writer:
    """Writes what ``reader`` has. Executable files stay so; nothing else of a mode is kept.

    First there are all directories, then their files, by several processes if there are many, and links at last.
    """

    reader: MirrorReader

    def write(self, layout: Directory, top: Path) -> None:
        """Fill the empty directory ``top``; raise Refused, Damaged, KeyError or OSError and leave it half full."""
        files = 0
        for _, directory in _walk(layout, top, make=True):
            files += len(directory.leaves)
        parts = min(len(os.sched_getaffinity(0)), _MOST_PARTS, 1 + files // _PART)

        def write_part(part: int) -> None:
            for number, (within, directory) in enumerate(_walk(layout, top)):
                if number % parts == part:
                    for leaf in directory.leaves:
                        if leaf[1] != LINK:
                            self._file(within, directory, leaf)

        in_parts(write_part, parts)
        for within, directory in _walk(layout, top):
            for leaf in directory.leaves:
                if leaf[1] == LINK:
                    self._link(within, directory, leaf)

    def _file(self, within: int, directory: Directory, leaf: Leaf) -> None:
        name, mode, place, size = leaf
        content = self.reader.read(place)[1] if size <= LARGE else None
        if content is not None and size < _MAX_POINTER and content.startswith(_LFS):
            path = shown(directory.path + name)
            raise Refused(f"{path} is a Git LFS pointer, and deployd does not fetch its file; commit the file")
        file = os.open(name, _NEW_FILE, 0o755 if mode & 0o100 else 0o644, dir_fd=within)
        try:
            for piece in self.reader.pieces(place) if content is None else (content,):
                written = os.write(file, piece)
                while written < len(piece):
                    written += os.write(file, piece[written:])
        finally:
            os.close(file)

    def _link(self, within: int, directory: Directory, leaf: Leaf) -> None:
        name, _, place, size = leaf
        goal = self.reader.read(place)[1] if size <= _MAX_LINK else b""
        if leads_out(goal, directory.depth):
            path = shown(directory.path + name)
            raise Refused(f"{path} cannot be checked out: it is a link that leads outside, to {shown(goal)}")
        os.symlink(goal, name, dir_fd=within)


def _walk(layout: Directory, top: Path, make: bool = False) -> Iterator[tuple[int, Directory]]:
    """Each directory, open, with those above it before; with ``make`` it is made first.

    With a stack of its own, so that depth is a limit and not a crash.
    """
    stack: list[tuple[int, Iterator[tuple[bytes, Directory]]]] = []
    try:
        stack.append((os.open(top, _OPEN), iter(layout.inner)))
        yield stack[-1][0], layout
        while stack:
            above, inner = stack[-1]
            name, directory = next(inner, (b"", None))
            if directory is None:
                os.close(stack.pop()[0])
                continue
            if make:
                os.mkdir(name, 0o755, dir_fd=above)
            stack.append((os.open(name, _OPEN, dir_fd=above), iter(directory.inner)))
            yield stack[-1][0], directory
    finally:
        for descriptor, _ in stack:
            os.close(descriptor)


def leads_out(goal: bytes, depth: int) -> bool:
    """Whether a link to ``goal``, with ``depth`` directories between it and the top, may lead out of the checkout.

    ``..`` may only stand in front: after a name it would start from wherever that name, itself a link, leads.
    """
    parts = [part for part in goal.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return not goal or goal.startswith(b"/") or ups > depth or b".." in parts[ups:] or b"\0" in goal
