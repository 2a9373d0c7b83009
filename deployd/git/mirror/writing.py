"""Writing the files of a layout, by names relative to open directories, so that no link can lead a write elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import define

from deployd.errors import Refused
from deployd.git.mirror.closure import LINK
from deployd.git.mirror.layout import Directory, Leaf, shown
from deployd.git.mirror.reading import LARGE, MirrorReader

_LFS = b"version https://git-lfs.github.com/spec/v1"
_MAX_POINTER = 1024
_MAX_LINK = 4095
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@define
class Writer:
    """Writes what ``reader`` has. It walks with a stack of its own, so that depth is a limit and not a crash.

    Executable files stay so; nothing else of a mode is kept.
    """

    reader: MirrorReader

    def write(self, layout: Directory, top: Path) -> None:
        """Fill the empty directory ``top``; raise Refused, Damaged, KeyError or OSError and leave it half full."""
        stack: list[tuple[int, Iterator[tuple[bytes, Directory]]]] = []
        try:
            stack.append((os.open(top, _OPEN), iter(layout.inner)))
            self._fill(stack[-1][0], layout)
            while stack:
                above, inner = stack[-1]
                name, directory = next(inner, (b"", None))
                if directory is None:
                    os.close(stack.pop()[0])
                    continue
                os.mkdir(name, 0o755, dir_fd=above)
                stack.append((os.open(name, _OPEN, dir_fd=above), iter(directory.inner)))
                self._fill(stack[-1][0], directory)
        finally:
            for descriptor, _ in stack:
                os.close(descriptor)

    def _fill(self, within: int, directory: Directory) -> None:
        for leaf in directory.leaves:
            if leaf[1] == LINK:
                self._link(within, directory, leaf)
            else:
                self._file(within, directory, leaf)

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


def leads_out(goal: bytes, depth: int) -> bool:
    """Whether a link to ``goal``, with ``depth`` directories between it and the top, may lead out of the checkout.

    ``..`` may only stand in front: after a name it would start from wherever that name, itself a link, leads.
    """
    parts = [part for part in goal.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return not goal or goal.startswith(b"/") or ups > depth or b".." in parts[ups:] or b"\0" in goal
