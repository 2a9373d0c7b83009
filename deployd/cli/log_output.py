"""Lines of logs on stdout: JSON for programs, colour on a terminal, bytes as they were printed in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import click

from deployd.cli.log_lines import Line
from deployd.cli.output import on_terminal
from deployd.processes.records import STDERR, WORDS

_COLOURS = {WORDS: "cyan", STDERR: "red"}


class LogOutput:
    """``stream``: objects a line, as there is no end; else a list. It blocks."""

    def __init__(self, as_json: bool, stream: bool) -> None:
        self._json = as_json
        self._list = as_json and not stream
        self._terminal = on_terminal()
        self._begun = False

    def write(self, lines: Iterable[Line]) -> None:
        out = sys.stdout.buffer
        for line in lines:
            out.write(self._rendered(line))
            self._begun = True
        out.flush()

    def close(self) -> None:
        """The end of the list."""
        if self._list:
            sys.stdout.buffer.write(b"\n]\n" if self._begun else b"[]\n")
            sys.stdout.buffer.flush()

    def _rendered(self, line: Line) -> bytes:
        if self._json:
            document = json.dumps(line.document()).encode()
            if not self._list:
                return document + b"\n"
            return (b",\n" if self._begun else b"[\n") + b"  " + document
        if self._terminal:
            shown = click.style(line.prefix, dim=True) + click.style(line.safe, fg=_COLOURS.get(line.stream))
            return shown.encode("utf-8", "replace") + b"\n"
        return line.prefix.encode() + line.text + b"\n"
