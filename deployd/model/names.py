"""Names that people and peers choose: what is allowed, and one clear sentence for what is not."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deployd.model.invalid import Invalid

MAX_APP_NAME = 100
RESERVED_APP_NAMES = frozenset({"-", "healthz", "metrics"})

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RELEASE = re.compile(r"v([1-9][0-9]{0,8})")


def is_unicode(words: Iterable[str]) -> bool:
    """Whether these can be saved as UTF-8: what a terminal sent in another encoding is a str with lone surrogates."""
    try:
        for word in words:
            word.encode()
    except UnicodeEncodeError:
        return False
    return True


def app_name(text: str) -> str:
    """Return ``text`` if it names an app (``webapp``, ``team/webapp``), else raise Invalid.

    App names become directories and URL paths, so each segment starts with a letter or digit and holds only letters,
    digits, ``.``, ``_`` and ``-``; ``..`` and the endings ``.git`` and ``.lock`` are refused.
    """
    if len(text) > MAX_APP_NAME:
        raise Invalid(f"an app name has at most {MAX_APP_NAME} characters, this one has {len(text)}")
    segments = text.split("/")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or ".." in segment or segment.lower().endswith((".git", ".lock", ".")):
            raise Invalid(
                f"{shown(text)} is not an app name: use letters, digits, '.', '_' and '-', with '/' between parts"
            )
    if segments[0] in RESERVED_APP_NAMES:
        raise Invalid(f"{shown(text)} is not an app name: {segments[0]!r} is reserved for the hub's own pages")
    return text


def drone_name(text: str) -> str:
    """Return ``text`` if it can name a drone, else raise Invalid."""
    return _matching(_WORD, text, "a drone name: use up to 63 letters, digits, '.', '_' and '-'")


def role_name(text: str) -> str:
    """Return ``text`` if it can name a role, else raise Invalid."""
    return _matching(_ROLE, text, "a role: use up to 63 letters, digits, '_' and '-'")


def label(text: str) -> tuple[str, str]:
    """Split ``K=V``; both sides are words. Raise Invalid otherwise."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"{shown(text)} is not a label: write KEY=VALUE")
    problem = "a label: use letters, digits, '.', '_' and '-' on both sides of '='"
    return _matching(_WORD, key, problem), _matching(_WORD, value, problem)


def is_commit(text: str) -> bool:
    """Whether ``text`` is a full 40-hex commit id."""
    return _COMMIT.fullmatch(text) is not None


def release_number(text: str) -> int | None:
    """``v12`` -> 12; None when ``text`` does not name a release."""
    match = _RELEASE.fullmatch(text)
    return int(match.group(1)) if match else None


def shown(text: str) -> str:
    """``text`` as an error may repeat it: quoted, escaped, cut at 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _matching(pattern: re.Pattern[str], text: str, problem: str) -> str:
    if not pattern.fullmatch(text):
        raise Invalid(f"{shown(text)} is not {problem}")
    return text
