"""The directory of authorized keys, as it is read: blocking, for a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from deployd.model.grant import Grant
from deployd.model.invalid import Invalid
from deployd.model.names import shown
from deployd.net.identity import owner_of

MAX_FILES = 10_000
MAX_FILE = 256 * 1024
MAX_KEYS = 20_000

# Of one file, which then is no file of keys. Others (no descriptor left, a broken disk) say nothing about it.
_ABOUT_THE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError)


@frozen
class Found:
    """The grants by their keys and by their owners, and a sentence for each line or file that is wrong and ignored."""

    grants: dict[bytes, Grant]
    owners: dict[str, Grant]
    problems: tuple[str, ...] = ()


def read_keys(directory: Path) -> Found:
    """All lines of all files in ``directory``; raise OSError when they cannot be read now.

    Hidden files and those that end in ``~`` are passed over: editors and Kubernetes leave them there.
    """
    grants: dict[bytes, Grant] = {}
    where: dict[bytes, str] = {}
    problems: list[str] = []
    there = (path.name for path in directory.iterdir())
    names = sorted(name for name in there if not name.startswith(".") and not name.endswith("~"))
    if len(names) > MAX_FILES:
        problems.append(f"{directory}: there are more than {MAX_FILES} files; the others are ignored")
    for name in names[:MAX_FILES]:
        path = directory / name
        for number, line in _lines(path, problems):
            place = f"{path}:{number}" if number else str(path)
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
    return Found(grants, {owner_of(key): grant for key, grant in grants.items()}, tuple(problems))


def read_again(directory: Path, before: Found) -> Found | None:
    """As ``read_keys``; None when nothing has changed."""
    found = read_keys(directory)
    return None if found == before else found


def _lines(path: Path, problems: list[str]) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    try:
        text = _content(path).decode("utf-8-sig")
    except _ABOUT_THE_FILE as error:
        problems.append(f"{path}: {(error.strerror or 'cannot be read').lower()}; the file is ignored")
        return
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8 text; the file is ignored (a private key? it does not belong here)")
        return
    except Invalid as error:
        problems.append(f"{path}: {error}; the file is ignored")
        return
    # Not splitlines, for which more than an editor's line ends a line.
    for number, line in enumerate(text.split("\n"), 1):
        said = line.strip(" \t\r")
        if said and not said.startswith("#"):
            yield number, said


def _content(path: Path) -> bytes:
    # A FIFO would never open, a device never end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Invalid("is not a file")
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise Invalid(f"has more than {MAX_FILE} bytes")
    return content


def printable(problem: str) -> str:
    """A problem as the log may have it, whatever the file is called."""
    return problem if problem.isprintable() else shown(problem)
