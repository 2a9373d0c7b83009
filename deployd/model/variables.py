"""The environment variables that an app may be given: by its config, its ``deployd.toml``, or an extra's ``--env``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from attrs import frozen

from deployd.model.invalid import Invalid
from deployd.model.names import is_unicode, shown

MAX_NAME = 100


@frozen
class Room:
    """What one set of variables may have: bytes in a ``value``, a ``number`` of variables, bytes of all as JSON."""

    value: int
    number: int
    whole: int


# A role's are part of an instance's line, a config is fetched with those of an extra: each in one AMP value.
OF_ROLE = Room(8 * 1024, 200, 16 * 1024)
OF_CONFIG = Room(32 * 1024, 500, 40_000)

# DEPLOYD_* are kept for what deployd will say one day.
SAID = frozenset({"PORT", "HOST", "COMMIT", "RELEASE", "REPO", "ROLE", "DRONE_ID", "PROCESS_ID"})
_OURS = ("DEPLOYD_", "LISTEN_")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def variable_name(text: str) -> str:
    """Return ``text`` if an app may be given a variable of that name, else raise Invalid."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text):
        raise Invalid(f"{shown(text)} is not a variable: use letters, digits and '_', and no digit first")
    if text in SAID or text.startswith(_OURS):
        raise Invalid(f"{text} is what deployd itself says to an app; choose another name")
    return text


def variable_value(name: str, text: str, room: Room = OF_ROLE) -> str:
    """Return ``text`` if the variable ``name`` can hold it, else raise Invalid. The sentence never has the value."""
    if "\0" in text:
        raise Invalid(f"the value of {name} holds a NUL, which no variable can")
    if not is_unicode([text]):
        raise Invalid(f"the value of {name} is not UTF-8")
    if len(text.encode()) > room.value:
        raise Invalid(f"the value of {name} is longer than {room.value} bytes; put it into a file")
    return text


def variables(values: Mapping[str, str], room: Room = OF_ROLE) -> dict[str, str]:
    """``values``, by name, if an app may be given all of them at once; else raise Invalid."""
    checked = {variable_name(name): variable_value(name, values[name], room) for name in sorted(values)}
    if len(checked) > room.number:
        raise Invalid(f"an app may be given at most {room.number} variables")
    if len(json.dumps(checked, ensure_ascii=False).encode()) > room.whole:
        raise Invalid(f"the variables have more than {room.whole} bytes together")
    return checked
