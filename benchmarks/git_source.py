"""A person's copy of one of the repositories, and commits like those that are in it."""

from __future__ import annotations

from pathlib import Path
from random import Random

from attrs import define, field

from benchmarks.git_repositories import MAIN, copy
from benchmarks.git_servers import git
from benchmarks.git_text import Author

_WHO = "Person 1 <person1@example.org>"


@define
class Source:
    """A bare repository at ``path``; ``files`` are those that commits edit."""

    path: Path
    files: list[str]
    _author: Author = field(init=False, factory=lambda: Author(Random(7)))
    _time: int = field(init=False, default=1_700_000_000)

    @classmethod
    def of(cls, name: str, path: Path) -> Source:
        copy(name, path)
        listed = git("-C", str(path), "ls-tree", "-r", "--name-only", MAIN).splitlines()
        return cls(path, [file for file in listed if file.endswith(".py")])

    def commit(self) -> str:
        """The id of a new commit on the main branch, which edits two files."""
        stream = [f"commit {MAIN}\ncommitter {_WHO} {self._time} +0000\n".encode(), self._data(b"Change")]
        stream.append(f"from {MAIN}^0\n".encode())
        for file in self._author.random.sample(self.files, 2):
            text = git("-C", str(self.path), "cat-file", "blob", f"{MAIN}:{file}").encode()
            edited = self._author.edited(tuple(text.splitlines()))
            stream += [f"M 100644 inline {file}\n".encode(), self._data(b"\n".join(edited) + b"\n")]
        self._time += 60
        git("-C", str(self.path), "fast-import", "--quiet", stdin=b"".join(stream))
        return self.head()

    def head(self) -> str:
        return git("-C", str(self.path), "rev-parse", MAIN).strip()

    def push(self, url: str, *refs: str) -> None:
        git("-C", str(self.path), "push", "-q", url, *(refs or (MAIN,)))

    @staticmethod
    def _data(content: bytes) -> bytes:
        return b"data %d\n%b\n" % (len(content), content)
