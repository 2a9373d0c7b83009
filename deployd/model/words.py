"""The words of one command that somebody gives."""

from __future__ import annotations

import json

from deployd.model.invalid import Invalid
from deployd.model.names import is_unicode

MAX_COMMAND = 16 * 1024
"""Bytes as JSON: a command has to fit one AMP value with the rest of an instance's line."""


def check_command(argv: tuple[str, ...], what: str) -> None:
    """Raise Invalid for a command that cannot be assigned or executed."""
    if any("\0" in word for word in argv):
        raise Invalid(f"{what} holds a NUL, which no command can")
    if not is_unicode(argv):
        raise Invalid(f"{what} is not UTF-8, so that no drone could save it; put it into a script")
    if is_too_long(argv):
        raise Invalid(f"{what} is longer than {MAX_COMMAND} bytes; put it into a script")


def is_too_long(argv: tuple[str, ...]) -> bool:
    return len(json.dumps(argv, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_COMMAND
