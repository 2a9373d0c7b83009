"""What a person gives to ``config set``: words, a file, stdin. No sentence here has anything of a value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from deployd.cli import dotenv
from deployd.errors import UsageError
from deployd.model.invalid import Invalid
from deployd.model.variables import OF_CONFIG, OF_ROLE, variable_name, variables

STDIN = "-"
MAX_FILE = 1024 * 1024


def given(pairs: Sequence[str], file: str | None, stdin: TextIO) -> dict[str, str]:
    """All variables that are to be set. Raise UsageError, Invalid."""
    values = _filled(split(pairs), file == STDIN, stdin)
    if file is not None:
        named = "stdin" if file == STDIN else file
        read = dotenv.read(_text(_all(stdin) if file == STDIN else _content(file), named), named)
        twice = sorted(values.keys() & read.keys())
        if twice:
            raise UsageError(f"{twice[0]} is both in {named} and among the words")
        values |= read
    if not values:
        raise UsageError("nothing to set: write NAME=VALUE, or --from-file F")
    return variables(values, OF_CONFIG)


def own(pairs: Sequence[str], stdin: TextIO) -> dict[str, str]:
    """The environment of one process: what ``--env`` was given. Raise UsageError, Invalid."""
    return variables(_filled(split(pairs, "--env"), False, stdin), OF_ROLE)


def _filled(values: dict[str, str], is_taken: bool, stdin: TextIO) -> dict[str, str]:
    """``values`` with the one that stdin has in its place; ``is_taken``: stdin has something else. Raise UsageError."""
    asked = [name for name, value in values.items() if value == STDIN]
    if len(asked) + is_taken > 1:
        raise UsageError("stdin can give one value, or one file")
    if asked:
        values[asked[0]] = _typed(asked[0]) if stdin.isatty() else _line(_text(_all(stdin), "stdin"))
    return values


def split(pairs: Sequence[str], place: str = "word behind the app") -> dict[str, str]:
    """``NAME=VALUE`` words; ``place`` is where they stand. Raise Invalid."""
    values: dict[str, str] = {}
    for number, pair in enumerate(pairs, 1):
        name, equals, value = pair.partition("=")
        if not equals or not (name.isascii() and name.isidentifier()):
            # Whatever it is, it may be a value.
            word = f"the {_ordinal(number)} {place}"
            raise Invalid(f"{word} is no NAME=VALUE; a name is letters, digits and '_', and no digit first")
        if variable_name(name) in values:
            raise Invalid(f"{name} is given twice")
        values[name] = value
    return values


def _typed(name: str) -> str:
    from getpass import getpass

    return getpass(f"{name}: ")


def _all(stdin: TextIO) -> bytes:
    return stdin.buffer.read(MAX_FILE + 1)


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _text(content: bytes, name: str) -> str:
    if len(content) > MAX_FILE:
        raise UsageError(f"{name} has more than {MAX_FILE} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8") from None


def _line(text: str) -> str:
    """Without the line end that ``echo`` puts there."""
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def _ordinal(number: int) -> str:
    return f"{number}{({1: 'st', 2: 'nd', 3: 'rd'}).get(number if number < 20 else number % 10, 'th')}"
