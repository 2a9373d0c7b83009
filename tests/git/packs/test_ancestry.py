"""Commits as numbers, against answers that are found the slow way."""

from __future__ import annotations

from random import Random

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.packs.ancestry import all_reach, ancestors, near, within


@frozen
class Family:
    """``parents`` by number; numbers say nothing about who was first."""

    parents: list[tuple[int, ...]]
    levels: list[int]

    @classmethod
    def of(cls, random: Random) -> Family:
        size = random.randint(1, 30)
        names = random.sample(range(size), size)
        parents: list[tuple[int, ...]] = [()] * size
        levels = [1] * size
        for order, name in enumerate(names):
            count = random.choice([0, 1, 1, 1, 2, 3])
            parents[name] = tuple(random.sample(names[:order], min(order, count)))
            levels[name] = 1 + max((levels[parent] for parent in parents[name]), default=0)
        return cls(parents, levels)

    def before(self, tips: set[int], cut: set[int]) -> set[int]:
        found = set(tips)
        while more := {p for n in found - cut for p in self.parents[n]} - found:
            found |= more
        return found

    def distance(self, tips: set[int], commit: int) -> int:
        steps, there = 0, set(tips)
        while commit not in there:
            there = {parent for number in there for parent in self.parents[number]}
            steps += 1
        return steps


class Ancestry(SynchronousTestCase):
    @given(st.integers(0, 1 << 32))
    def test_every_answer_is_the_one_found_the_slow_way(self, seed: int) -> None:
        random = Random(seed)
        family = Family.of(random)
        everybody = range(len(family.parents))
        tips, held, cut = ({random.choice(everybody) for _ in range(random.randint(0, 3))} for _ in range(3))
        before = family.before(tips, set())
        self.assertEqual(ancestors(family, tips, cut), family.before(tips, cut))
        reached = bool(held) and all(family.before({tip}, cut) & held for tip in tips)
        self.assertEqual(all_reach(family, tips, held, cut), reached)
        self.assertEqual(within(family, tips, held), held & before)
        depth = random.randint(1, 5)
        inside, last = near(family, tips, depth)
        steps = {commit: family.distance(tips, commit) for commit in before}
        self.assertEqual(inside, {commit for commit, count in steps.items() if count < depth - 1})
        self.assertEqual(last, {commit for commit, count in steps.items() if count == depth - 1})
