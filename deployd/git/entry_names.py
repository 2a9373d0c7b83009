"""Names of tree entries that no checkout may meet: ways out of it, and ``.git`` in its disguises.

A case-folding or Unicode-folding file system takes ``.GIT``, ``git~1``, ``.git.``, ``.git::$INDEX_ALLOCATION`` or
``.g<ZWNJ>it`` for ``.git``; a checkout that wrote such a name would let a commit bring its own hooks.
"""

from __future__ import annotations

import re
import unicodedata

from dulwich.index import HFS_IGNORABLE_CHARS

MAX_NAME = 255
_SUSPECT = re.compile(rb"\A\.|[/\\\x80-\xff\x00]|git", re.IGNORECASE)


def unsafe(name: bytes) -> str | None:
    """Why ``name`` may not be an entry of a tree, or None when it may."""
    if not name or len(name) > MAX_NAME:
        return "is empty" if not name else f"has more than {MAX_NAME} bytes"
    if not _SUSPECT.search(name):
        return None
    if b"/" in name or b"\0" in name:
        return "has a '/' or NUL in it"
    if name in (b".", b".."):
        return "leads out of its directory"
    if any(is_dot_git(part) for part in name.split(b"\\")):
        return "could be taken for .git"
    return None


def is_dot_git(name: bytes) -> bool:
    """Whether some file system takes ``name`` for ``.git``."""
    plain = name.split(b":", 1)[0].rstrip(b" .").lower()
    return plain in (b".git", b"git~1") or _folded(name) == ".git"


def is_dot_gitmodules(name: bytes) -> bool:
    """Whether some file system takes ``name`` for ``.gitmodules``."""
    plain = name.split(b":", 1)[0].rstrip(b" .").lower()
    return (
        plain == b".gitmodules"
        or re.fullmatch(rb"(gitmod~[1-4]|gi7eba~[0-9])", plain) is not None
        or (_folded(name) == ".gitmodules")
    )


def _folded(name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return ""
    kept = "".join(char for char in text if ord(char) not in HFS_IGNORABLE_CHARS)
    return unicodedata.normalize("NFD", kept).casefold()
