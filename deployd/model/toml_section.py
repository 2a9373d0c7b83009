"""One table of a TOML file, read key by key; whatever is wrong is noted with its line, and reading goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from attrs import define, field

from deployd.model.faults import Faults
from deployd.model.toml_lines import Lines, Path

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60
T = TypeVar("T")


@define
class Section:
    """``path`` is where it is in ``file``. Every reading method gives the default where the key is missing or wrong."""

    file: str
    lines: Lines
    faults: Faults
    values: dict[str, Any]
    path: Path = ()
    _asked: list[str] = field(factory=list)

    def has(self, key: str) -> bool:
        return key in self.values

    def has_text(self, key: str) -> bool:
        return isinstance(self.values.get(key), str)

    def has_table(self, key: str) -> bool:
        return isinstance(self.values.get(key), dict)

    def fault(self, key: str, text: str) -> None:
        """``key`` ("": the section itself) is wrong; ``text`` goes on after its name."""
        path = (*self.path, key) if key else self.path
        self.faults.add(self.file, self.lines.of(path), f"{_named(path)} {text}")

    def text(self, key: str, default: str = "", what: str = "text in quotes") -> str:
        return self._read(key, default, lambda value: isinstance(value, str), what)

    def flag(self, key: str, default: bool) -> bool:
        return self._read(key, default, lambda value: isinstance(value, bool), "true or false")

    def number(self, key: str, default: float, lowest: float, highest: float, unit: str) -> float:
        def fits(value: Any) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool) and lowest <= value <= highest

        what = f"a number of {unit} from {_plain(lowest)} to {_plain(highest)}"
        return float(self._read(key, default, fits, what))

    def whole(self, key: str, default: int, lowest: int, highest: int, unit: str) -> int:
        def fits(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest

        return self._read(key, default, fits, f"a whole number of {unit} from {lowest} to {highest}")

    def texts(self, key: str, at_most: int) -> tuple[str, ...]:
        def fits(value: Any) -> bool:
            return isinstance(value, list) and len(value) <= at_most and all(isinstance(word, str) for word in value)

        return tuple(self._read(key, (), fits, f"a list of at most {at_most} texts in quotes"))

    def either(self, key: str) -> Any:
        """The value of a key of several kinds, which the caller checks; None where it is missing."""
        self._asked.append(key)
        return self.values.get(key)

    def section(self, key: str) -> Section:
        """The table ``key``; an empty one where it is missing."""
        path = (*self.path, key)
        fits = f"a table: write [{_named(path)}]"
        return self._inner(self._read(key, {}, lambda value: isinstance(value, dict), fits), path)

    def sections(self, key: str, at_most: int) -> list[Section]:
        """The tables ``[[key]]``, or the one table ``[key]``."""

        def fits(value: Any) -> bool:
            tables = value if isinstance(value, list) else [value]
            return len(tables) <= at_most and all(isinstance(table, dict) for table in tables)

        path = (*self.path, key)
        value: Any = self._read(key, [], fits, f"at most {at_most} tables: write [[{_named(path)}]]")
        if isinstance(value, dict):
            return [self._inner(value, path)]
        return [self._inner(table, (*path, number)) for number, table in enumerate(value)]

    def every(self) -> Iterator[str]:
        """All keys, where any may be: none is unknown then."""
        self._asked.extend(self.values)
        return iter(self.values)

    def close(self) -> None:
        """Everything that may be here has been asked for: what else is here is not known."""
        for key in [key for key in self.values if key not in self._asked]:
            near = get_close_matches(key, self._asked, 1)
            self.fault(
                key, f"is not known; did you mean {near[0]}?" if near else f"is not known; here can be {self._all()}"
            )

    def wrong(self, key: str, what: str) -> None:
        """``key`` is not what it should be."""
        self.fault(key, f"is {what}, not {shown_value(self.values[key])}")

    def _all(self) -> str:
        return ", ".join(dict.fromkeys(self._asked))

    def _read(self, key: str, default: T, fits: Callable[[Any], bool], what: str) -> T:
        value = self.either(key)
        if key not in self.values:
            return default
        if not fits(value):
            self.wrong(key, what)
            return default
        return cast(T, value)

    def _inner(self, values: dict[str, Any], path: Path) -> Section:
        return Section(self.file, self.lines, self.faults, values, path)


def shown_value(value: Any) -> str:
    """A value as an error may repeat it: on one line, and short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str | bool):
        text = json.dumps(value)
    else:
        text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _plain(number: float) -> str:
    return f"{number:g}" if number < 1e6 else f"{number:.0f}"


def _named(path: Path) -> str:
    """The dotted name; of array elements the line says which."""
    words = [part for part in path if isinstance(part, str)]
    return ".".join(word if _BARE.fullmatch(word) and len(word) <= _SHOWN else shown_value(word) for word in words)
