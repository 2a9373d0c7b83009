"""In which line of a TOML text each of its keys is, which tomllib does not tell.

Note [A reader beside tomllib]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
This reads more than TOML allows and never less: it only has to find keys, and tomllib then refuses what is wrong. Where
it understands nothing any more it stops, and tomllib does not get further either. So it can also refuse beforehand what
would cost tomllib much: keys of very many parts (quadratic), arrays in arrays (recursion), endless numbers.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress

from attrs import define, field, frozen

Path = tuple[str | int, ...]
"""From the top of the file to a value: keys, and numbers of array elements."""

MAX_PARTS = 16
MAX_DEPTH = 16
MAX_SCALAR = 1000

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'")
_TEXT = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})|' r"'''.*?'''(?:'{0,2})", re.DOTALL)
_SHORT_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'")
_SCALAR = re.compile(r"[^\s,\]}#][^,\]}#\n]*")


class Excessive(Exception):
    """More in ``line`` than anybody writes; the message says what."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


class _Strange(Exception):
    """Not TOML."""


@frozen
class Lines:
    """``known`` has the line where each path is named first."""

    known: Mapping[Path, int]

    def of(self, path: Path) -> int:
        """The line of ``path``, or of the nearest thing around it that the file names."""
        while path and path not in self.known:
            path = path[:-1]
        return self.known.get(path, 1)


def locate(text: str) -> Lines:
    """Find all keys of ``text``; raise Excessive (Note [A reader beside tomllib])."""
    scan = _Scan(text.replace("\r\n", "\n"))
    with suppress(_Strange):
        scan.run()
    return Lines(scan.lines)


@define
class _Scan:
    text: str
    lines: dict[Path, int] = field(factory=dict)
    _at: int = 0
    _table: Path = ()
    _elements: dict[Path, int] = field(factory=dict)
    _breaks: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._breaks = [at for at, letter in enumerate(self.text) if letter == "\n"]

    def run(self) -> None:
        self._skip(_BLANK)
        while self._at < len(self.text):
            if self._takes("[["):
                self._header("]]")
            elif self._takes("["):
                self._header("]")
            else:
                self._pair(self._table, 0)
            self._skip(_BLANK)

    def _header(self, end: str) -> None:
        line = self._line()
        parts = self._key()
        self._expect(end)
        if end == "]":
            self._table = self._absolute(parts)
        else:
            array = (*self._absolute(parts[:-1]), parts[-1])
            self._elements[array] = self._elements.get(array, 0) + 1
            self._table = self._absolute(parts)
        self._mark(self._table, line)

    def _absolute(self, parts: Path) -> Path:
        """An array of tables on the way means its last element so far."""
        path: Path = ()
        for part in parts:
            path += (part,)
            if path in self._elements:
                path += (self._elements[path] - 1,)
        return path

    def _pair(self, table: Path, depth: int) -> None:
        line = self._line()
        path = table + self._key()
        self._expect("=")
        self._mark(path, line)
        self._value(path, depth)

    def _key(self) -> Path:
        parts: list[str | int] = []
        while True:
            self._skip(_SPACE)
            word = self._match(_KEY)
            # Quoted keys have escapes, which tomllib knows.
            parts.append(_unquoted(word) if word[0] in "\"'" else word)
            if len(parts) > MAX_PARTS:
                raise Excessive(self._line(), f"a key has at most {MAX_PARTS} parts")
            self._skip(_SPACE)
            if not self._takes("."):
                return tuple(parts)

    def _value(self, path: Path, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Excessive(self._line(), f"a value has at most {MAX_DEPTH} others around it")
        self._skip(_SPACE)
        if self._takes("["):
            self._array(path, depth + 1)
        elif self._takes("{"):
            self._inline_table(path, depth + 1)
        elif self.text.startswith(('"""', "'''"), self._at):
            self._match(_TEXT)
        elif self.text.startswith(('"', "'"), self._at):
            self._match(_SHORT_TEXT)
        elif len(self._match(_SCALAR)) > MAX_SCALAR:
            raise Excessive(self._line(), f"a value that is no text has at most {MAX_SCALAR} characters")

    def _array(self, path: Path, depth: int) -> None:
        number = 0
        self._skip(_BLANK)
        while not self._takes("]"):
            element = (*path, number)
            self._mark(element, self._line())
            self._value(element, depth)
            number += 1
            self._skip(_BLANK)
            self._takes(",")
            self._skip(_BLANK)

    def _inline_table(self, path: Path, depth: int) -> None:
        self._skip(_BLANK)
        while not self._takes("}"):
            self._pair(path, depth)
            self._skip(_BLANK)
            self._takes(",")
            self._skip(_BLANK)

    def _mark(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self._at)
        assert found is not None
        self._at = found.end()

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self._at)
        if found is None:
            raise _Strange
        self._at = found.end()
        return found[0]

    def _takes(self, word: str) -> bool:
        found = self.text.startswith(word, self._at)
        self._at += len(word) if found else 0
        return found

    def _expect(self, word: str) -> None:
        if not self._takes(word):
            raise _Strange


def _unquoted(word: str) -> str:
    try:
        return str(tomllib.loads(f"key = {word}")["key"])
    except ValueError as error:
        raise _Strange from error
