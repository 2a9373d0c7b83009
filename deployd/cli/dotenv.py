"""Files of variables, as many tools read and write them: ``NAME=VALUE`` lines, with quotes and comments.

No sentence here has anything of a file but the numbers of its lines and the names of its variables: what is wrong in a
line may be half a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import define

from deployd.model.invalid import Invalid
from deployd.model.variables import variable_name

_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_NOTHING = re.compile(r"[ \t]*(?:#.*)?")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^-]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_WRITTEN = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", '"': r"\""}


def read(text: str, name: str) -> dict[str, str]:
    """The variables in ``text``, which is that of the file ``name``. Raise Invalid with the line.

    A value ends at `` #``, or stands in quotes, within which it may go over several lines: in double ones with
    ``\\n \\r \\t`` and ``\\`` before any other character, in single ones as it is. ``$`` means nothing anywhere.
    """
    return _Reader(text.replace("\r\n", "\n"), name).read()


def written(values: Mapping[str, str]) -> str:
    """``values`` as ``read`` reads them, a line each."""
    return "\n".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + "".join(_WRITTEN.get(char, char) for char in value) + '"'


@define
class _Reader:
    text: str
    name: str
    at: int = 0

    def read(self) -> dict[str, str]:
        values: dict[str, str] = {}
        while self.at < len(self.text):
            start = self.at
            if not self._skip():
                match = _LINE.match(self.text, self.at)
                if match is None:
                    raise self._wrong(start, "is no NAME=VALUE, comment or empty line")
                name = self._named(match[1], start)
                if name in values:
                    raise self._wrong(start, f"sets {name} for the second time")
                self.at = match.end()
                values[name] = self._value()
        return values

    def _named(self, name: str, start: int) -> str:
        try:
            return variable_name(name)
        except Invalid as error:
            raise Invalid(f"{self._place(start)}: {error}") from None

    def _skip(self) -> bool:
        """Go over the rest of a line that has nothing more to say; False when it has."""
        match = _NOTHING.match(self.text, self.at)
        end = match.end() if match else self.at
        if end < len(self.text) and self.text[end] != "\n":
            return False
        self.at = end + 1
        return True

    def _value(self) -> str:
        start = self.at
        quote = self.text[start : start + 1]
        if quote not in ("'", '"'):
            end = self.text.find("\n", start)
            line = self.text[start : end if end >= 0 else len(self.text)]
            self.at = start + len(line) + 1
            # ``K= # nothing``, but ``K=#fff``.
            if line.startswith("#") and self.text[start - 1] in " \t":
                return ""
            return re.split(r"[ \t]#", line, maxsplit=1)[0].rstrip(" \t")
        value = self._single() if quote == "'" else self._double()
        if not self._skip():
            raise self._wrong(self.at, "has something behind the closing quote")
        return value

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise self._wrong(self.at, "has a quote that is never closed")
        value = self.text[self.at + 1 : end]
        self.at = end + 1
        return value

    def _double(self) -> str:
        start = self.at
        chars: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == '"':
                return "".join(chars)
            if char == "\\" and self.at < len(self.text):
                char = _ESCAPES.get(self.text[self.at], self.text[self.at])
                self.at += 1
            chars.append(char)
        raise self._wrong(start, "has a quote that is never closed")

    def _wrong(self, at: int, what: str) -> Invalid:
        return Invalid(f"{self._place(at)} {what}")

    def _place(self, at: int) -> str:
        return f"{self.name}, line {self.text.count(chr(10), 0, at) + 1}"
