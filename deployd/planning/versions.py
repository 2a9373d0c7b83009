"""npm's version ranges: which versions a ``ROLE@RANGE`` takes.

Note [What NpmSpec is asked]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~
NpmSpec knows what ``^``, ``~``, a missing or an ``x`` part and each operator mean. It is not npm where a range names a
prerelease (``<=2.4.3-pre`` takes 2.4.3, ``>1.2.3-a`` does not take 1.2.3) and in what it reads (no blanks after an
operator, no ``~>``). So the text is taken apart here, NpmSpec is asked what one comparator without its prerelease
stands for, and npm's rule of prereleases is put on top. docs/registry says where the result still differs from npm.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from attrs import field, frozen
from semantic_version import NpmSpec, Version

from deployd.model.invalid import Invalid
from deployd.model.names import shown

MAX_RANGE = 200
# As npm: what JavaScript can count to.
MAX_NUMBER = 2**53 - 1

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PART = rf"({_NUMBER}|[xX*])"
_WORD = r"[0-9A-Za-z-]+"
_PRERELEASE_WORD = rf"(?:[0-9]*[A-Za-z-][0-9A-Za-z-]*|{_NUMBER})"
_PRERELEASE = rf"(?:-({_PRERELEASE_WORD}(?:\.{_PRERELEASE_WORD})*))?"
_BUILD = re.compile(rf"\+{_WORD}(?:\.{_WORD})*")
_COMPARATOR = re.compile(rf"(~>?|\^|[<>]?=?)=?v?{_PART}(?:\.{_PART}(?:\.{_PART}{_PRERELEASE})?)?")
_FULL = re.compile(rf"v?({_NUMBER})\.({_NUMBER})\.({_NUMBER}){_PRERELEASE}(?:{_BUILD.pattern})?")
# An operator may stand alone before what it is about.
_OPERATORS = frozenset({"<", "<=", ">", ">=", "=", "~", "~>", "^"})

# A version as what Python compares in C, as semver says: numbers before words, a prerelease before its release.
Key = tuple[Any, ...]

_MEANING: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def _key(numbers: Iterable[int], prerelease: Iterable[str]) -> Key:
    words = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in prerelease]
    return (*numbers, not words, *words)


@frozen
class _Comparator:
    operator: str
    target: Version
    _compare: Callable[[Any, Any], bool] = field(init=False, eq=False, repr=False)
    _key: Key = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_compare", _MEANING[self.operator])
        target = self.target
        object.__setattr__(self, "_key", _key((target.major, target.minor, target.patch), target.prerelease))

    def takes(self, key: Key) -> bool:
        return self._compare(key, self._key)

    def is_for_prereleases_of(self, key: Key) -> bool:
        return not self._key[3] and self._key[:3] == key[:3]


_ALL = _Comparator(">=", Version("0.0.0"))
# Below every version: what `<*` stands for.
_NONE = _Comparator("<", Version("0.0.0-0"))


@frozen
class VersionRange:
    """A range as npm writes it: ``^1.2``, ``1.x || >=2.5.0 <3``, ``*``."""

    text: str
    _alternatives: tuple[tuple[_Comparator, ...], ...]

    def takes(self, version: str) -> bool:
        """Whether the range holds ``version``; what is no semantic version is in no range."""
        key = _version(version)
        return key is not None and any(_all_take(one, key) for one in self._alternatives)


@lru_cache(maxsize=1024)
def version_range(text: str) -> VersionRange:
    """Raise Invalid."""
    if len(text) > MAX_RANGE:
        raise Invalid(f"a version range has at most {MAX_RANGE} characters, this one has {len(text)}")
    try:
        alternatives = tuple(tuple(_alternative(part)) for part in text.split("||"))
    except ValueError:
        raise Invalid(f"{shown(text)} is not a version range; write one as npm does, like ^1.2 or >=1.0.0 <2") from None
    # As npm: beside `*` the others are as if they were not there, with the prereleases that they name.
    return VersionRange(text, alternatives if all(alternatives) else ((),))


def _all_take(comparators: tuple[_Comparator, ...], key: Key) -> bool:
    """A prerelease is only in a range that names one of the very version that it leads to."""
    for comparator in comparators:
        if not comparator.takes(key):
            return False
    return key[3] or any(comparator.is_for_prereleases_of(key) for comparator in comparators)


# Many rows have the same few versions, and are looked at again and again.
@lru_cache(maxsize=16384)
def _version(text: str) -> Key | None:
    """None for what is no semantic version; its build is left away, as it never counts."""
    match = _FULL.fullmatch(text)
    if match is None:
        return None
    numbers = [int(number) for number in match.group(1, 2, 3)]
    return _key(numbers, match[4].split(".") if match[4] else ()) if max(numbers) <= MAX_NUMBER else None


def _alternative(text: str) -> Iterator[_Comparator]:
    """What must hold together; raise ValueError."""
    words = _BUILD.sub("", text).split()
    if len(words) == 3 and words[1] == "-":
        low, _, high = words
        if low[0] in "<>=~^" or high[0] in "<>=~^":
            raise ValueError("a bound with an operator")
        words = [f">={low}", f"<={high}"]
    before = ""
    for word in words:
        if not before and word in _OPERATORS:
            before = word
            continue
        yield from (comparator for comparator in _comparators(before + word) if comparator != _ALL)
        before = ""
    if before:
        raise ValueError("an operator before nothing")


def _comparators(text: str) -> tuple[_Comparator, ...]:
    """What one comparator stands for; raise ValueError."""
    match = _COMPARATOR.fullmatch(text)
    if match is None:
        raise ValueError("not a comparator")
    sign, *parts, prerelease = match.groups()
    numbers = [None if part in ("x", "X", "*") else part for part in parts]
    if any(number is not None and int(number) > MAX_NUMBER for number in numbers):
        raise ValueError("a number too large")
    known = numbers.index(None) if None in numbers else 3
    is_range = sign in ("~", "~>", "^")
    if not is_range and any(number is not None for number in numbers[known:]):
        raise ValueError("a part after an x")
    if not known:
        return (_NONE if sign in ("<", ">") else _ALL,)
    core = ".".join(str(number) for number in numbers[:known])
    clauses = NpmSpec.Parser.parse_simple(sign.replace("~>", "~") + core)
    named = Version(core) if known == 3 else None
    return tuple(_completed(clause.operator, clause.target, named, prerelease or "") for clause in clauses)


def _completed(sign: str, target: Version, named: Version | None, prerelease: str) -> _Comparator:
    """A comparator of NpmSpec's with the prerelease put back, which NpmSpec has not seen."""
    if named is not None and target == named:
        return _Comparator(sign, Version(f"{target}-{prerelease}") if prerelease else target)
    # A bound that follows from what was named: ^1.2 ends before the prereleases of 2.0.0.
    return _Comparator(sign, Version(f"{target}-0") if sign == "<" else target)
