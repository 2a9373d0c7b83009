"""Lines of ``deployctl watch``: where to begin, and how each reads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from deployd.cli.query_words import address, named, namespace
from deployd.cli.rendering import cell
from deployd.errors import UsageError
from deployd.model.names import shown
from deployd.model.revision import NOW

MORE = ("revision", "id", "drone", "owner")

_POSITION = re.compile(r"([^.\s]{1,64}\.)?[0-9]{1,18}(-[sc][0-9]{1,18})?", re.ASCII)

Line = Mapping[str, Any]


def position(text: str | None) -> str:
    """``REV``, ``EPOCH.REV`` or ``now``; "" for nothing. Raise UsageError."""
    if text and text != NOW and not _POSITION.fullmatch(text):
        raise UsageError(f"{shown(text)} is not a revision: write REV or EPOCH.REV as a watch said them, or now")
    return text or ""


def plain_line(line: Line, verbose: bool) -> str:
    """``put http@1.2.3 10.0.0.1:8080 default``; ``verbose``: and all the rest of the row."""
    row = line.get("row")
    if not isinstance(row, Mapping):
        return " ".join([cell(line.get("type")), cell(line.get("epoch"))]).rstrip()
    words = [cell(line.get("type")), named(row), address(row), namespace(row), cell(row.get("app"))]
    words.append(cell(row.get("release")))
    if verbose:
        said = {"revision": line.get("revision")} | {name: row.get(name) for name in MORE[1:]}
        words += [f"{name}={cell(value)}" for name, value in said.items() if cell(value)]
        words += [f"meta={json.dumps(row['meta'])}"] if row.get("meta") else []
    return " ".join(word for word in words if word)


class LineOutput:
    """Lines on stdout: the protocol's own as JSON, or readable ones. It blocks."""

    def __init__(self, as_json: bool, verbose: bool) -> None:
        self._json = as_json
        self._verbose = verbose

    def write(self, lines: Iterable[Line]) -> None:
        sys.stdout.write("".join(f"{self._rendered(line)}\n" for line in lines))
        sys.stdout.flush()

    def _rendered(self, line: Line) -> str:
        return json.dumps(line) if self._json else plain_line(line, self._verbose)
