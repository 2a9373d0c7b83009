"""The shares of each step of a promotion."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.route import MAX_WEIGHT, Promotion, Setting, Share
from deployd.planning.promotion import advanced, begun, check_steps, shares_at


def setting(**weights: int) -> Setting:
    return Setting("webapp", "http", tuple(Share(name, weight) for name, weight in weights.items()))


def weights(shares: tuple[Share, ...]) -> dict[str, int]:
    return {share.release: share.weight for share in shares}


class StepsTests(SynchronousTestCase):
    def test_they_grow_to_100(self) -> None:
        self.assertEqual(check_steps([5, 25, 100], 60.0), (5, 25, 100))
        self.assertEqual(check_steps([100], 1.0), (100,))

    def test_anything_else_is_refused_with_a_sentence(self) -> None:
        for steps in ([], [5, 25], [100, 5], [5, 5, 100], [0, 100], [-1, 100], [5.0, 100], [True, 100], ["5", 100]):
            error = self.assertRaises(Invalid, check_steps, steps, 60.0)
            self.assertIn("5,25,100", str(error))
        for every in (0.5, 0.0, -1.0, float("nan"), float("inf"), 1e9):
            self.assertIn("one second", str(self.assertRaises(Invalid, check_steps, [100], every)))


class SharesTests(SynchronousTestCase):
    def test_the_rest_stays_with_the_one_that_had_everything(self) -> None:
        self.assertEqual(weights(shares_at(setting(v1=1), "v2", 5)), {"v1": 95, "v2": 5})

    def test_others_share_the_rest_as_before(self) -> None:
        self.assertEqual(weights(shares_at(setting(v1=3, v2=1), "v3", 20)), {"v1": 60, "v2": 20, "v3": 20})
        thirds = weights(shares_at(setting(v1=1, v2=1, v3=1), "v4", 5))
        self.assertEqual(thirds, {"v1": 3167, "v2": 3167, "v3": 3166, "v4": 500})

    def test_none_becomes_zero_before_the_end(self) -> None:
        shares = weights(shares_at(setting(v1=MAX_WEIGHT, v2=1), "v3", 99))
        self.assertEqual(shares, {"v1": 99, "v2": 1, "v3": 9900})

    def test_at_100_nothing_else_is_left(self) -> None:
        self.assertEqual(weights(shares_at(setting(v1=3, v2=1), "v3", 100)), {"v3": 1})

    def test_what_had_no_weight_gets_none(self) -> None:
        self.assertEqual(weights(shares_at(setting(v0=0, v1=1), "v2", 50)), {"v0": 0, "v1": 50, "v2": 50})
        self.assertEqual(weights(shares_at(setting(v0=0, v1=1), "v2", 100)), {"v0": 0, "v2": 1})
        self.assertEqual(weights(shares_at(setting(v2=0, v1=1), "v2", 50)), {"v1": 50, "v2": 50})

    @given(
        st.lists(st.integers(0, MAX_WEIGHT), min_size=1, max_size=20).filter(any),
        st.integers(0, 20),
        st.integers(1, 99),
    )
    def test_it_has_its_percents_and_the_rest_keeps_its_proportions(
        self, base: list[int], promoted: int, percent: int
    ) -> None:
        release = f"v{promoted}"
        before = {f"v{n}": weight for n, weight in enumerate(base)}
        rest = {name: weight for name, weight in before.items() if weight and name != release}
        after = weights(shares_at(setting(**before), release, percent))
        if not rest:
            self.assertEqual({name for name, weight in after.items() if weight}, {release})
            return
        total = sum(after.values())
        self.assertEqual(after[release] * 100, percent * total)
        self.assertEqual({name for name, weight in after.items() if weight and name != release}, set(rest))
        for name, weight in rest.items():
            fair = (total - after[release]) * weight / sum(rest.values())
            self.assertLess(abs(after[name] - fair), len(rest) + 1)


class PromotionTests(SynchronousTestCase):
    def test_it_makes_step_after_step_and_then_is_over(self) -> None:
        base = setting(v1=1)
        step = begun(base, "v2", (5, 25, 100), 60.0)
        self.assertEqual(step.promotion, Promotion("v2", (5, 25, 100), 60.0, 1, base))
        seen = [weights(step.setting.shares)]
        while step.promotion is not None:
            step = advanced(step.promotion)
            seen.append(weights(step.setting.shares))
        self.assertEqual(seen, [{"v1": 95, "v2": 5}, {"v1": 75, "v2": 25}, {"v2": 1}])

    def test_all_at_once_is_over_at_once(self) -> None:
        step = begun(setting(v1=1), "v2", (100,), 60.0)
        self.assertEqual((weights(step.setting.shares), step.promotion), ({"v2": 1}, None))

    def test_it_begins_above_what_the_release_has(self) -> None:
        step = begun(setting(v1=90, v2=10), "v2", (5, 10, 50, 100), 60.0)
        assert step.promotion is not None
        self.assertEqual((weights(step.setting.shares), step.promotion.steps), ({"v1": 50, "v2": 50}, (50, 100)))

    def test_what_has_everything_cannot_get_more(self) -> None:
        self.assertRaises(Invalid, begun, setting(v1=0, v2=7), "v2", (5, 100), 60.0)

    def test_what_the_route_does_otherwise_stays(self) -> None:
        base = Setting("webapp", "http", (Share("v1", 1),), preview=True, sticky=True, https=True)
        step = begun(base, "v2", (5, 100), 60.0)
        self.assertEqual((step.setting.preview, step.setting.sticky, step.setting.https), (True, True, True))
