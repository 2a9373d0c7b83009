"""Three bare repositories that are always the same, with histories like those of real projects.

`repository("small")`, `"medium"` and `"large"` are paths of repositories of one pack each, made with `git fast-import`
and `git repack` at the first call and then kept in `$DEPLOYD_BENCH_CACHE` (or below the system's temporary directory).
Nobody may write to them: take a `copy`.

What is made up: files of source-like text in nested directories and a few binaries; commits that edit one to four
files, add, rename and remove some, or revert an earlier one; branches that are merged, and others that stay; annotated
tags. Names, dates, texts and the shape of history come from a seed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path
from random import Random
from typing import cast

from attrs import define, field

from benchmarks import git_text
from benchmarks.git_text import Author, Lines

SEED = 6
START = 1_300_000_000
MAIN = "refs/heads/main"
# A file to which lines are added in front, as in many a project.
NEWS = "NEWS.rst"
EMAIL = "person{0}@example.org"
# Branches at work at one time, beside main.
_OPEN_AT_ONCE = 12


@define(frozen=True)
class Shape:
    """``depth`` is that of the directories; ``binaries`` files of up to ``binary_bytes``; ``merged`` of a hundred
    branches are merged, and their refs deleted."""

    commits: int
    files: int
    directories: int
    depth: int
    branches: int
    tags: int
    binaries: int
    binary_bytes: int
    merged: int = 50


SHAPES = {
    "small": Shape(400, 290, 40, 3, 3, 6, 20, 300_000),
    "medium": Shape(5_000, 540, 90, 4, 150, 30, 60, 500_000),
    "large": Shape(24_000, 1_450, 260, 5, 1_700, 260, 130, 500_000),
}


def repository(name: str) -> Path:
    """The bare repository ``name``, which is built if it is not there."""
    root = Path(os.environ.get("DEPLOYD_BENCH_CACHE") or Path(tempfile.gettempdir()) / "deployd-bench-repositories")
    place = root / f"{name}-{_version(SHAPES[name])}.git"
    if not place.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=root) as holder:
            _build(SHAPES[name], Path(holder) / "new.git").rename(place)
    return place


def copy(name: str, target: Path) -> Path:
    """A copy of the repository ``name`` that may be written to; its packs, which nobody changes, are hard links."""
    _run("cp", "-al", str(repository(name)), str(target))
    for file in ("HEAD", "config", "packed-refs"):
        path = target / file
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    return target


def _version(shape: Shape) -> str:
    """Another one whenever the repository would be another."""
    digest = hashlib.sha256(repr(shape).encode())
    for module in (__file__, git_text.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()[:12]


def _build(shape: Shape, place: Path) -> Path:
    _run("git", "init", "-q", "--bare", "-b", "main", str(place))
    command = ["git", "-C", str(place), "fast-import", "--quiet", f"--active-branches={2 * _OPEN_AT_ONCE}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importer:
        _History(shape, cast(BufferedWriter, importer.stdin)).write()
        cast(BufferedWriter, importer.stdin).close()
    if importer.returncode:
        raise RuntimeError(f"git fast-import ended with {importer.returncode}")
    _run("git", "-C", str(place), "pack-refs", "--all")
    # One thread, because several divide the work by chance. No bitmap: a push does not bring one either.
    settings = ("-c", "pack.threads=1", "-c", "repack.writeBitmaps=false")
    _run("git", "-C", str(place), *settings, "repack", "-adfq", "--window=10", "--depth=50")
    return place


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@define
class _Branch:
    """``before`` is what the files of the last commit were before it, for a revert."""

    ref: str
    tip: int
    files: dict[str, Lines]
    changed: set[str] = field(factory=set)
    before: dict[str, Lines | None] = field(factory=dict)
    left: int = 0


class _History:
    """Writes a stream for `git fast-import`; files are tuples of lines, a binary is one line."""

    def __init__(self, shape: Shape, out: BufferedWriter) -> None:
        self._shape = shape
        self._out = out
        self._random = Random(SEED)
        self._author = Author(self._random)
        self._directories = [""]
        self._made = 0
        self._time = START
        self._names = 0
        self._kept = 0

    def write(self) -> None:
        shape = self._shape
        main = self._first()
        open_branches: list[_Branch] = []
        tags = {shape.commits * (number + 1) // (shape.tags + 1) for number in range(shape.tags)}
        # Each branch has five commits on average; so many are begun that enough of them stay.
        begin = shape.branches / (1 - shape.merged / 100) / shape.commits
        while self._made < shape.commits:
            if self._random.random() < begin and len(open_branches) < _OPEN_AT_ONCE:
                open_branches.append(self._fork(main))
            branch = self._random.choice((main, main, *open_branches))
            self._commit(branch, self._change(branch))
            if branch is not main:
                branch.left -= 1
                if not branch.left:
                    open_branches.remove(branch)
                    self._end(main, branch)
            if self._made in tags:
                self._tag(main)
        for branch in open_branches:
            self._end(main, branch)
        while self._kept < shape.branches:
            branch = self._fork(main)
            self._commit(branch, self._change(branch))
            self._kept += 1

    def _first(self) -> _Branch:
        shape, random = self._shape, self._random
        while len(self._directories) < shape.directories:
            parent = random.choice(self._directories)
            if parent.count("/") < shape.depth:
                self._directories.append(f"{parent}{self._author.word()}{len(self._directories)}/")
        # The longest come first, which are changed the most.
        texts = sorted((self._author.text() for _ in range(shape.files - shape.binaries - 2)), key=len, reverse=True)
        files = {NEWS: self._author.lines(shape.files * 3)}
        files.update((self._name(), text) for text in texts)
        files["Procfile"] = (b"http: exec sleep 1000000",)
        for _ in range(shape.binaries):
            files[self._name("bin")] = self._binary()
        main = _Branch(MAIN, 0, {})
        self._commit(main, dict(files))
        return main

    def _name(self, suffix: str = "") -> str:
        self._names += 1
        ending = suffix or self._random.choice(("py", "py", "py", "rst", "js", "html"))
        # Half of the files are in a quarter of the directories.
        directory = self._directories[int(len(self._directories) * self._random.random() ** 2)]
        return f"{directory}{self._author.word()}{self._names}.{ending}"

    def _binary(self) -> Lines:
        return (self._random.randbytes(int(self._shape.binary_bytes * self._random.random() ** 2) + 500),)

    def _change(self, branch: _Branch) -> dict[str, Lines | None]:
        """What the next commit makes of which files; None for one that goes."""
        random, files = self._random, branch.files
        luck = random.random()
        if luck < 0.02 and branch.before:
            return dict(branch.before)
        names = [*files]
        change: dict[str, Lines | None] = {}
        # A few files are changed much more often than the others.
        for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
            name = names[int(len(names) * random.random() ** 2.5)]
            is_text = not name.endswith(".bin")
            if is_text or random.random() < 0.1:
                change[name] = self._author.edited(files[name]) if is_text else self._binary()
        if luck > 0.85 and NEWS in files:
            change[NEWS] = self._author.lines(2) + files[NEWS]
        if luck < 0.08 or not change:
            change[self._name()] = self._author.text()
        elif luck < 0.10:
            old = random.choice(names)
            change[old] = None
            change[self._name(old.rpartition(".")[2])] = files[old]
        elif luck < 0.13:
            change[random.choice(names)] = None
        return change

    def _commit(self, branch: _Branch, change: dict[str, Lines | None], merged: int = 0) -> None:
        self._made += 1
        self._say(f"commit {branch.ref}\nmark :{self._made}\n")
        author, committer = self._person(), self._person()
        self._say(f"author {author}\ncommitter {committer}\n")
        self._data(self._message(merged))
        if branch.tip:
            self._say(f"from :{branch.tip}\n")
        if merged:
            self._say(f"merge :{merged}\n")
        branch.before = {name: branch.files.get(name) for name in change}
        for name, content in change.items():
            if content is None:
                branch.files.pop(name, None)
                self._say(f"D {name}\n")
                continue
            branch.files[name] = content
            self._say(f"M {'100755' if name.endswith('.js') else '100644'} inline {name}\n")
            self._data(b"\n".join(content) + b"\n")
        branch.changed.update(change)
        branch.tip = self._made

    def _person(self) -> str:
        self._time += int(self._random.expovariate(1 / 4000))
        number = int(40 * self._random.random() ** 2)
        return f"Person {number} <{EMAIL.format(number)}> {self._time} +0{number % 3}00"

    def _message(self, merged: int) -> bytes:
        lines = [("Merge " if merged else "") + self._author.sentence(self._random.randint(4, 9)), ""]
        lines += [self._author.sentence(11) for _ in range(self._random.choice((0, 0, 1, 3, 6)))]
        return "\n".join(lines).encode()

    def _fork(self, main: _Branch) -> _Branch:
        self._names += 1
        name = f"refs/heads/{self._author.word()}-{self._names}"
        fork = _Branch(name, main.tip, dict(main.files), left=self._random.randint(1, 9))
        self._say(f"reset {name}\nfrom :{main.tip}\n\n")
        return fork

    def _end(self, main: _Branch, branch: _Branch) -> None:
        """Merge ``branch``, with its side of every file it changed; or leave it as it is."""
        if self._random.random() * 100 >= self._shape.merged:
            self._kept += 1
            return
        self._commit(main, {name: branch.files.get(name) for name in sorted(branch.changed)}, merged=branch.tip)
        self._say(f"reset {branch.ref}\nfrom {'0' * 40}\n\n")

    def _tag(self, main: _Branch) -> None:
        self._say(f"tag v{self._made}\nfrom :{main.tip}\ntagger {self._person()}\n")
        self._data(f"Version {self._made}\n\n{self._author.sentence(12)}\n".encode())

    def _say(self, text: str) -> None:
        self._out.write(text.encode())

    def _data(self, content: bytes) -> None:
        self._out.write(b"data %d\n%b\n" % (len(content), content))


def _names(arguments: list[str]) -> Iterator[str]:
    for name in arguments or [*SHAPES]:
        yield f"{name}: {repository(name)}"


if __name__ == "__main__":
    for line in _names(sys.argv[1:]):
        print(line, flush=True)
