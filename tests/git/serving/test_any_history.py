"""Whatever a history looks like: a reader gets what it needs, and nothing that it may not see."""

from __future__ import annotations

from pathlib import Path
from random import Random

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import TAG
from tests.git.packs.histories import Files, History, repository, store
from tests.git.serving.clients import Client, Server

PATHS = [("a",), ("b",), ("d", "a"), ("d", "b"), ("d", "e", "a"), ("f", "e", "a"), ("f", "x", "y", "z")]
MODES = ["100644", "100644", "100755", "120000", "160000"]
DEPTHS = ["", "", "deepen 1", "deepen 2", "deepen 3", "deepen 2147483647", "deepen 1 deepen-relative"]


def some_history(random: Random) -> History:
    """Up to 15 commits: edits, moves, reverts, empty trees, merges, several roots."""
    made = History()
    for number in range(random.randint(1, 15)):
        count = random.choice([0, 1, 1, 1, 1, 1, 2, 2, 3]) if number else 0
        parents = sorted({max(0, number - random.choice([1, 1, 1, 2, 4, 9])) for _ in range(count)})
        files = dict(made.files[parents[0]]) if parents else {}
        for _ in range(random.randint(0, 3)):
            files = changed(random, files, made)
        made.commit(files, [made.commits[parent] for parent in parents])
    return made


def changed(random: Random, files: Files, made: History) -> Files:
    what, path = random.choice(["write", "write", "write", "delete", "move", "revert", "empty"]), random.choice(PATHS)
    if what == "write":
        apart = {old: file for old, file in files.items() if path[: len(old)] != old and old[: len(path)] != path}
        return apart | {path: (random.choice(MODES), random.randint(0, 6))}
    if what == "delete":
        return {old: file for old, file in files.items() if old != path}
    if what == "move":
        stays = {old: file for old, file in files.items() if old[0] not in (path[0], "g")}
        return stays | {("g", *old[1:]): file for old, file in files.items() if old[0] == path[0] and len(old) > 1}
    return dict(random.choice(made.files)) if what == "revert" and made.files else {}


@define
class Case:
    """A history in up to three packs, with refs on some of its commits and on tags; ``tips`` are visible."""

    random: Random
    made: History
    server: Server
    tips: list[str]

    @classmethod
    def of(cls, seed: int, path: Path) -> Case:
        random = Random(seed)
        made = some_history(random)
        tags = [made.tag(random.choice(made.commits)) for _ in range(random.randint(0, 2))]
        tags += [made.tag(tag) for tag in tags[:1]]
        repository(path)
        stored = set[str]()
        for commit in random.sample(made.commits, random.randint(0, min(2, len(made.commits)))):
            stored |= cls._store(path, made, made.reachable([commit]) - stored)
        cls._store(path, made, made.reachable([*made.commits, *tags]) - stored)
        tips = [*(random.choice(made.commits[-3:]) for _ in range(2)), random.choice(made.commits)]
        refs = {f"refs/heads/{number}": tip for number, tip in enumerate(tips)}
        refs |= {f"refs/tags/{number}": tag for number, tag in enumerate(tags)}
        refs |= {"refs/deploy/" + commit: commit for commit in made.commits[:2]}
        server = Server(path, path / "target")
        server.set_refs(refs, made)
        return cls(random, made, server, [*tips, *tags])

    @staticmethod
    def _store(path: Path, made: History, names: set[str]) -> set[str]:
        if names:
            store(path, made, [name for name in made.objects if name in names])
        return names

    def some(self, names: list[str], least: int, most: int) -> set[str]:
        return {self.random.choice(names) for _ in range(self.random.randint(least, most))}


class AnyHistory(SynchronousTestCase):
    """``git rev-list --objects`` says what is needed; a plain model of that is in ``History``."""

    @given(st.integers(0, 1 << 32))
    def test_a_reader_gets_what_it_lacks_and_nothing_else(self, seed: int) -> None:
        case = Case.of(seed, Path(self.mktemp()))
        made, shown = case.made, case.made.reachable(case.tips)
        wants = case.some([name for name in made.objects if name in shown], 0, 2) | case.some(case.tips, 1, 2)
        has = made.reachable(case.some(made.commits, 0, 2))
        client = Client({name: made.objects[name] for name in has})
        options = case.random.choice([[], ["include-tag"]])
        came = client.fetch(case.server, sorted(wants), *options, version=case.random.choice([0, 2]))
        self.assertEqual(made.reachable(wants) - has - came.keys(), set())
        self.assertEqual(came.keys() - shown, set())
        client.check(wants)
        if options:
            follow = {tag for tag in case.tips if made.objects[tag][0] == TAG and self.end(made, tag) in came}
            self.assertEqual(follow - came.keys() - has, set())

    @given(st.integers(0, 1 << 32))
    def test_shallow_histories_are_whole_however_they_were_deepened(self, seed: int) -> None:
        case = Case.of(seed, Path(self.mktemp()))
        client, had, shown = Client(), set[str](), case.made.reachable(case.tips)
        for _ in range(case.random.randint(1, 5)):
            wants = case.some(case.tips, 1, 2)
            depth = case.random.choice(DEPTHS)
            options = [depth] if depth.count(" ") < 2 else depth.rsplit(" ", 1)
            came = client.fetch(case.server, sorted(wants), *filter(None, options), version=case.random.choice([0, 2]))
            self.assertEqual(came.keys() - shown, set())
            had |= wants
            client.check(had)

    def end(self, made: History, name: str) -> str:
        while made.objects[name][0] == TAG:
            name = made.objects[name][1][7:47].decode()
        return name
