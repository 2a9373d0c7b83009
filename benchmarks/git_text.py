"""Text that looks like source code to whoever compresses it: indented lines of a small vocabulary, edited in places."""

from __future__ import annotations

from itertools import accumulate
from random import Random

_SYLLABLES = (
    *("con", "fig", "re", "load", "par", "ser", "ti", "mer", "stre", "am", "buf", "fer", "in", "dex", "no", "de"),
    *("que", "ry", "han", "dle", "ses", "sion", "lo", "ck", "wri", "te"),
)
_TEMPLATES = (
    "    def {}(self, {}, {}):",
    "        {} = self.{}({})",
    "        if {} is not {}:",
    "            return {}.{}",
    "        for {} in {}.{}():",
    '            raise ValueError("{} {} of {}")',
    "        # {} {} the {} before {} {}.",
    '        """{} the {} of {}, {} {} {}."""',
    "            {}[{}] = {}.{}({}, {}=%d)",
    "        self.assertEqual({}.{}, %d)",
    "from {}.{} import {}, {}",
    "",
    "",
)
_BATCH = 4096
Lines = tuple[bytes, ...]


class Author:
    """Writes and edits; the same seed writes the same."""

    def __init__(self, random: Random, words: int = 3000) -> None:
        self.random = random
        self._words = sorted({self._word() for _ in range(words)})
        random.shuffle(self._words)
        # Zipf's law: the tenth word is used a tenth as often as the first.
        self._weights = list(accumulate(1 / (rank + 3) for rank in range(len(self._words))))
        self._batch: list[str] = []

    def _word(self) -> str:
        parts = self.random.choices(_SYLLABLES, k=self.random.randint(1, 4))
        return "".join(parts) if self.random.random() < 0.6 else "_".join(parts)

    def word(self) -> str:
        if not self._batch:
            self._batch = self.random.choices(self._words, cum_weights=self._weights, k=_BATCH)
        return self._batch.pop()

    def sentence(self, words: int) -> str:
        return " ".join(self.word() for _ in range(words)).capitalize()

    def lines(self, count: int) -> Lines:
        return tuple(self._line() for _ in range(count))

    def _line(self) -> bytes:
        template = self.random.choice(_TEMPLATES)
        text = template.format(*(self.word() for _ in range(template.count("{}"))))
        return ((text % self.random.randrange(1000)) if "%d" in text else text).encode()

    def text(self) -> Lines:
        """A new file: 5 to 1,500 lines, half of the files below 90."""
        return self.lines(min(1500, 5 + int(self.random.lognormvariate(4.4, 1.0))))

    def edited(self, text: Lines) -> Lines:
        """``text`` with one to three places changed."""
        for _ in range(self.random.choice((1, 1, 2, 3))):
            start = self.random.randrange(len(text) + 1)
            end = start + self.random.choice((0, 1, 1, 2, 3, 8))
            text = text[:start] + self.lines(self.random.choice((1, 1, 2, 3, 6, 12))) + text[end:]
        return text if len(text) < 3000 else text[:1500]
