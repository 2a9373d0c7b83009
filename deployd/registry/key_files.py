"""The directory of authorized keys, as it is read: blocking, for a thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from attrs import frozen

from deployd.model.grant import Grant
from deployd.model.invalid import Invalid
from deployd.model.names import shown
from deployd.net.identity import owner_of

MAX_FILES = 10_000
MAX_FILE = 256 * 1024
MAX_BYTES = 8 * 1024 * 1024
MAX_KEYS = 20_000

# What says nothing about the file itself: it will pass. Any other error makes it one that is ignored.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}


@frozen
class Found:
    """The grants by their keys and by their owners, and a sentence for each line or file that is wrong and ignored.

    ``digest`` is of all that was read.
    """

    grants: dict[bytes, Grant]
    owners: dict[str, Grant]
    problems: tuple[str, ...] = ()
    digest: bytes = b""


@frozen
class _File:
    """``problem`` says why there is no ``content``."""

    path: Path
    content: bytes = b""
    problem: str = ""


def read_keys(directory: Path) -> Found:
    """All lines of all files in ``directory``; raise OSError when they cannot be read now.

    Hidden files and those that end in ``~`` are passed over: editors and Kubernetes leave them there.
    """
    files = _files(directory)
    return _parsed(files, _digest(files))


def read_again(directory: Path, before: Found) -> Found | None:
    """As ``read_keys``; None when nothing has changed, which is found out without looking at each line."""
    files = _files(directory)
    digest = _digest(files)
    return None if digest == before.digest else _parsed(files, digest)


def _parsed(files: list[_File], digest: bytes) -> Found:
    grants: dict[bytes, Grant] = {}
    where: dict[bytes, str] = {}
    problems: list[str] = []
    for file in files:
        for number, line in _lines(file, problems):
            place = f"{file.path}:{number}"
            try:
                grant = Grant.parse(line)
                if grant.key in grants:
                    raise Invalid(f"the key is in {where[grant.key]} already, and only that line counts")
                if len(grants) >= MAX_KEYS:
                    raise Invalid(f"there are more than {MAX_KEYS} keys")
            except Invalid as error:
                problems.append(f"{place}: {error}; the line is ignored")
                continue
            grants[grant.key], where[grant.key] = grant, place
    return Found(grants, {owner_of(key): grant for key, grant in grants.items()}, tuple(problems), digest)


def _lines(file: _File, problems: list[str]) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    problem, text = file.problem, ""
    try:
        text = file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problem = "is not UTF-8 text (a private key? it does not belong here)"
    if problem:
        problems.append(f"{file.path}: {problem}; the file is ignored")
        return
    # Not splitlines, for which more than an editor's line ends a line.
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip(" \t\r")
        if said and not said.startswith("#"):
            yield number, said


def _files(directory: Path) -> list[_File]:
    there = (path.name for path in directory.iterdir())
    names = sorted(name for name in there if not name.startswith(".") and not name.endswith("~"))
    files: list[_File] = []
    size = 0
    for name in names[:MAX_FILES]:
        files.append(_read(directory / name))
        size += len(files[-1].content)
        if size > MAX_BYTES:
            files[-1] = _File(directory / name, problem=f"with it there are more than {MAX_BYTES} bytes")
            break
    if len(files) < len(names):
        files.append(_File(directory, problem=f"only {len(files)} of {len(names)} files are read"))
    return files


def _read(path: Path) -> _File:
    try:
        # A FIFO would never open, a device never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return _File(path, problem="is not a file")
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        if error.errno in _PASSING:
            raise
        return _File(path, problem=(error.strerror or "cannot be read").lower())
    return _File(path, content) if len(content) <= MAX_FILE else _File(path, problem=f"has more than {MAX_FILE} bytes")


def _digest(files: list[_File]) -> bytes:
    digest = sha256()
    for file in files:
        for part in (os.fsencode(file.path), file.content, file.problem.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def printable(problem: str) -> str:
    """A problem as the log may have it, whatever the file is called."""
    return problem if problem.isprintable() else shown(problem)
