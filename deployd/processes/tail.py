"""The last words of an app, for errors and reports."""

from __future__ import annotations

import re
from collections import deque

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Tail:
    """Keeps the last ``lines`` lines and ``size`` bytes written to it; a line is cut at ``line`` bytes.

    Apps print anything: what comes out is safe to show on a terminal and short enough for one box on the wire.
    """

    def __init__(self, lines: int = 50, size: int = 16 * 1024, line: int = 2000) -> None:
        self._count = lines
        self._size = size
        self._line = line
        self._lines: deque[bytes] = deque(maxlen=lines)
        self._held = 0
        self._open = b""

    def write(self, data: bytes) -> None:
        """Take output as it comes, whole lines or not."""
        # A chatty app sends thousands of lines at once: only the last ones are split.
        *lines, self._open = (self._open + data).rsplit(b"\n", self._count)
        self._open = self._open[: self._line + 1]
        if len(lines) == self._count:
            lines[0] = lines[0].rpartition(b"\n")[2]
        for line in lines:
            self._keep(line[: self._line + 1])

    def text(self) -> str:
        """The lines, oldest first, joined by newlines; at most ``size`` bytes of UTF-8."""
        shown: deque[str] = deque()
        left = self._size
        for line in reversed([*self._lines, *([self._open] if self._open else [])][-self._count :]):
            text = self._shown(line)
            left -= len(text.encode()) + 1
            if left < 0:
                break
            shown.appendleft(text)
        return "\n".join(shown)

    def clear(self) -> None:
        self._lines.clear()
        self._held = 0
        self._open = b""

    def _keep(self, line: bytes) -> None:
        if len(self._lines) == self._count:
            self._held -= len(self._lines.popleft())
        self._lines.append(line)
        self._held += len(line)
        while self._held > self._size and len(self._lines) > 1:
            self._held -= len(self._lines.popleft())

    def _shown(self, line: bytes) -> str:
        cut = len(line) > self._line
        text = line[: self._line].decode("utf-8", "replace").rstrip("\r")
        text = _CONTROL.sub(_escaped, _SEQUENCE.sub("", text))
        return text + " ..." if cut else text


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
