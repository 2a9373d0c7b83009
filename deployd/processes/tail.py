"""The last words of an app, for errors and reports."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def last_lines(output: bytes, lines: int = 50, size: int = 16 * 1024, line: int = 2000) -> str:
    """The last ``lines`` lines of ``output``, joined by newlines: at most ``size`` bytes of UTF-8.

    A line is cut at ``line`` bytes.
    Apps print anything: what comes out is safe to show on a terminal and short enough for one box on the wire.
    """
    shown: list[str] = []
    for words in reversed(output.removesuffix(b"\n").rsplit(b"\n", lines)[-lines:]):
        text = _shown(words, line)
        size -= len(text.encode()) + 1
        if size < 0:
            break
        shown.append(text)
    return "\n".join(reversed(shown))


def _shown(words: bytes, limit: int) -> str:
    text = words[:limit].decode("utf-8", "replace").rstrip("\r")
    text = _CONTROL.sub(_escaped, _SEQUENCE.sub("", text))
    return text + " ..." if len(words) > limit else text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
