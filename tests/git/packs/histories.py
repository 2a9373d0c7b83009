"""Small histories of every shape, and a plain model of what is in them, to hold the charts against."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from attrs import Factory, define
from dulwich.pack import write_pack_index_v2
from hypothesis import strategies as st

from deployd.git.kinds import BLOB, COMMIT, TAG, TREE
from tests.git import forge

Files = dict[tuple[str, ...], tuple[str, int]]
"""By path: the mode, and the number that makes the blob's content (or the submodule's commit)."""
_PATHS = [("a",), ("b",), ("d", "a"), ("d", "b"), ("d", "e", "a"), ("f", "e", "a"), ("f", "x", "y", "z")]
_MODES = ["100644", "100755", "120000", "160000"]

edits = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(_PATHS), st.sampled_from(_MODES), st.integers(0, 4)),
    st.tuples(st.just("delete"), st.sampled_from(_PATHS)),
    st.tuples(st.just("move"), st.sampled_from(["d", "f"]), st.sampled_from([("g",), ("d",), ("f",), ("f", "d")])),
    st.tuples(st.just("revert"), st.integers(0, 30)),
    st.just(("empty",)),
)
commits = st.tuples(st.lists(st.integers(0, 30), max_size=3), st.lists(edits, max_size=3))
"""Parents (of those before, modulo) and edits to the files of the first."""
shapes = st.lists(commits, min_size=1, max_size=12)


@define
class History:
    """``objects``: (kind, content) by hex id, in the order in which they were made."""

    objects: dict[str, tuple[int, bytes]] = Factory(dict)
    commits: list[str] = Factory(list)
    parents: dict[str, list[str]] = Factory(dict)
    files: list[Files] = Factory(list)

    def add(self, kind: int, content: bytes) -> str:
        name = forge.object_id(kind, content)
        self.objects.setdefault(name, (kind, content))
        return name

    def commit(self, files: Files, parents: list[str]) -> str:
        """Each has a message of its own, so no two are the same."""
        lines = [f"tree {self._tree(files)}", *(f"parent {parent}" for parent in parents)]
        who = forge.WHO.decode()
        name = self.add(
            COMMIT, "\n".join([*lines, f"author {who}", f"committer {who}", "", str(len(self.commits))]).encode()
        )
        self.commits.append(name)
        self.parents[name] = parents
        self.files.append(files)
        return name

    def tag(self, target: str) -> str:
        kind = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}[self.objects[target][0]]
        return self.add(TAG, f"object {target}\ntype {kind}\ntag v\ntagger {forge.WHO.decode()}\n\nm\n".encode())

    def before(self, tips: Iterable[str]) -> set[str]:
        """``tips`` and all their ancestors."""
        found: set[str] = set()
        waiting = list(tips)
        while waiting:
            commit = waiting.pop()
            if commit not in found:
                found.add(commit)
                waiting += self.parents[commit]
        return found

    def reachable(self, tips: Iterable[str]) -> set[str]:
        """As ``git rev-list --objects`` has them."""
        return set[str]().union(*map(self._below, tips))

    def _below(self, name: str) -> set[str]:
        kind, content = self.objects[name]
        if kind == COMMIT:
            trees = {self.objects[commit][1][5:45].decode() for commit in self.before([name])}
            return self.before([name]) | self.reachable(trees)
        if kind == TAG:
            return {name} | self._below(content[7:47].decode())
        return {name} | (self.reachable(entries(content)) if kind == TREE else set())

    def _tree(self, files: Files) -> str:
        entries: dict[str, tuple[str, str]] = {}
        for path, (mode, number) in files.items():
            if len(path) == 1:
                blob = f"{number:040d}" if mode == "160000" else self.add(BLOB, b"blob %d" % number)
                entries[path[0]] = (mode, blob)
        for directory in {path[0] for path in files if len(path) > 1}:
            inner = {path[1:]: file for path, file in files.items() if path[0] == directory and len(path) > 1}
            entries[directory] = ("40000", self._tree(inner))
        ordered = sorted(entries.items(), key=lambda entry: entry[0] + "/" * (entry[1][0] == "40000"))
        return self.add(TREE, b"".join(f"{m} {n}\0".encode() + bytes.fromhex(i) for n, (m, i) in ordered))


def history(shape: list[tuple[list[int], list[tuple[object, ...]]]]) -> History:
    """The history of a drawn shape."""
    made = History()
    for wanted, changes in shape:
        parents = list(dict.fromkeys(number % len(made.commits) for number in wanted)) if made.commits else []
        files = dict(made.files[parents[0]]) if parents else {}
        for change in changes:
            files = _changed(files, change, made)
        made.commit(files, [made.commits[number] for number in parents])
    return made


def repository(path: Path) -> Path:
    """A bare one, empty."""
    (path / "objects/pack").mkdir(parents=True)
    return path


def store(where: Path, made: History, names: Iterable[str]) -> Path:
    """Write a pack of these objects into a repository, with deltas where they are easily had, and no chart."""
    body = io.BytesIO()
    index: list[tuple[bytes, int, int]] = []
    bases: dict[int, tuple[str, int]] = {}
    names = list(dict.fromkeys(names))
    body.write(b"PACK\0\0\0\2" + len(names).to_bytes(4, "big"))
    for name in names:
        kind, content = made.objects[name]
        offset = body.tell()
        index.append((bytes.fromhex(name), offset, 0))
        entry = forge.whole(kind, content)
        if kind in bases and content:
            base, at = bases[kind]
            delta = forge.delta(made.objects[base][1], content)
            entry = forge.ofs_delta(offset - at, delta) if len(bases) % 2 else forge.ref_delta(base, delta)
        body.write(entry)
        bases[kind] = (name, offset)
    whole = body.getvalue()
    checksum = hashlib.sha1(whole).digest()
    pack = where / "objects/pack" / f"pack-{checksum.hex()}.pack"
    pack.write_bytes(whole + checksum)
    with pack.with_suffix(".idx").open("wb") as file:
        write_pack_index_v2(file, sorted(index), checksum)
    return pack


def _changed(files: Files, change: tuple[object, ...], made: History) -> Files:
    match change:
        case ("write", tuple(path), str(mode), int(number)):
            kept = {old: file for old, file in files.items() if path[: len(old)] != old and old[: len(path)] != path}
            return {**kept, path: (mode, number)}
        case ("delete", tuple(path)):
            return {old: file for old, file in files.items() if old != path}
        case ("move", str(directory), tuple(target)):
            moved = {target + old[1:]: file for old, file in files.items() if old[0] == directory and len(old) > 1}
            kept = {old: file for old, file in files.items() if old[0] not in (directory, target[0])}
            return {**kept, **moved}
        case ("revert", int(number)):
            return dict(made.files[number % len(made.files)]) if made.files else files
    return {}


@cache
def entries(content: bytes) -> tuple[str, ...]:
    """The ids in a tree, submodules left out."""
    found, at = [], 0
    while at < len(content):
        end = content.index(b"\0", at)
        if not content.startswith(b"160000", at):
            found.append(content[end + 1 : end + 21].hex())
        at = end + 21
    return tuple(found)
