"""Branches as a setting names them: all, none, or those that match patterns."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatchcase

from deployd.model.invalid import Invalid
from deployd.model.names import shown

ALL, OFF = "all", "off"
HEADS, TAGS = "refs/heads/", "refs/tags/"
MAX_PATTERNS = 50

# What git takes in a name of a ref, about; a pattern may have * ? [ ] beside it, and a comma separates two.
_PATTERN = re.compile(r"[^\s\x00-\x1f\x7f~^:\\,-][^\s\x00-\x1f\x7f~^:\\,]{0,199}")
_WILD = re.compile(r"[*?\[\]]")
_PLAIN = re.compile(r"[\w./-]{1,100}")


def branch(key: str, text: str) -> str:
    """``text`` as the name of one branch; raise Invalid."""
    name = text.removeprefix(HEADS)
    if not _PATTERN.fullmatch(name) or _WILD.search(name) or ".." in name:
        raise Invalid(f"{key}={shown(text)} is not the name of a branch: write one, like {key}=main")
    return name


def patterns(key: str, text: str) -> str:
    """``text`` (``all``, ``off``, ``main,feature/*``) as it is kept; raise Invalid."""
    if text in (ALL, OFF):
        return text
    names = [part.strip().removeprefix(HEADS) for part in text.split(",")]
    if len(names) > MAX_PATTERNS or not all(_PATTERN.fullmatch(name) and name not in (ALL, OFF) for name in names):
        raise Invalid(f"{key}={shown(text)} names no branches: write all, off, or patterns like {key}=main,feature/*")
    return ",".join(dict.fromkeys(names))


def is_named(setting: str, ref: str) -> bool:
    """Whether ``setting``, as ``patterns`` returns it, names ``ref``; ``*`` takes ``/`` too, a tag is ``tags/NAME``."""
    if setting in (ALL, OFF):
        return setting == ALL
    return any(fnmatchcase(short_name(ref), pattern) for pattern in setting.split(","))


def with_name(setting: str, ref: str) -> str:
    """``setting`` with ``ref`` in addition, as a word of a shell's command line."""
    name = short_name(ref)
    if not _PLAIN.fullmatch(name):
        # No sentence repeats what a shell would run.
        name = "BRANCH"
    return shlex.quote(name if setting in (ALL, OFF) else f"{setting},{name}")


def short_name(ref: str) -> str:
    """``main`` of ``refs/heads/main``, ``tags/v1`` of ``refs/tags/v1``."""
    return ref.removeprefix(HEADS) if ref.startswith(HEADS) else ref.removeprefix("refs/")
