"""What goes from a disk (design rule 2)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.planning.disk import Stored, evicted, over_budget, refusal, reserve, size_text

things = st.lists(
    st.builds(Stored, st.sampled_from([0.0, 1.0, 2.0]), st.text("abc", max_size=3), st.integers(0, 100), st.booleans()),
    max_size=8,
    unique_by=lambda each: each.name,
)
shortages = st.integers(-10, 500)


class EvictedTests(SynchronousTestCase):
    @given(things, shortages)
    def test_never_takes_what_is_in_use(self, stored: list[Stored], shortage: int) -> None:
        self.assertFalse([each for each in evicted(stored, shortage) if each.in_use])

    @given(things, shortages)
    def test_takes_enough_or_all_that_is_unused(self, stored: list[Stored], shortage: int) -> None:
        going = evicted(stored, shortage)
        unused = {each for each in stored if not each.in_use and each.size}
        self.assertTrue(sum(each.size for each in going) >= shortage or set(going) == unused)

    @given(things, shortages)
    def test_takes_no_more_than_needed(self, stored: list[Stored], shortage: int) -> None:
        going = evicted(stored, shortage)
        self.assertTrue(not going or sum(each.size for each in going[:-1]) < shortage)

    @given(things, shortages)
    def test_what_was_used_longest_ago_goes_first(self, stored: list[Stored], shortage: int) -> None:
        going = evicted(stored, shortage)
        stays = [each for each in stored if each not in going and not each.in_use and each.size]
        self.assertTrue(all(one.used <= other.used for one in going for other in stays))

    @given(things, shortages, st.randoms())
    def test_the_order_of_what_is_there_is_irrelevant(
        self, stored: list[Stored], shortage: int, chance: object
    ) -> None:
        shuffled = sorted(stored, key=lambda _: chance.random())  # type: ignore[attr-defined]
        self.assertEqual(evicted(stored, shortage), evicted(shuffled, shortage))

    @given(things, st.integers(0, 500))
    def test_what_stays_keeps_the_budget_unless_it_is_in_use(self, stored: list[Stored], budget: int) -> None:
        stays = [each for each in stored if each not in over_budget(stored, budget)]
        total = sum(each.size for each in stays)
        self.assertTrue(total <= budget or all(each.in_use or not each.size for each in stays))
        self.assertEqual(over_budget(stays, budget), ())


class WordsTests(SynchronousTestCase):
    def test_a_refusal_has_the_numbers(self) -> None:
        self.assertEqual(
            refusal("webapp v3", 1_200_000_000, 400_000_000, 512_000_000, 3_100_000_000),
            "webapp v3 needs about 1.2 GB of disk space here, where 400 MB are free (512 MB stay in reserve); 3.1 GB "
            "are in use by releases: retire some (`deployctl retire --unused`)",
        )

    def test_where_nothing_runs_nothing_can_be_retired(self) -> None:
        self.assertEqual(
            refusal("webapp v1", 1_000, -5, 0, 0),
            "webapp v1 needs about 1.0 kB of disk space here, where none is free; make room on that disk",
        )

    def test_sizes_are_for_people(self) -> None:
        self.assertEqual(
            [size_text(n) for n in (0, 1, 999, 12_345, 12_345_678)],
            ["0 bytes", "1 byte", "999 bytes", "12 kB", "12 MB"],
        )

    def test_a_small_disk_keeps_a_twentieth_and_a_large_one_half_a_gigabyte(self) -> None:
        self.assertEqual([reserve(None, 100 << 20), reserve(None, 1 << 40)], [5 << 20, 512 << 20])
        self.assertEqual(reserve(0, 1 << 40), 0)
