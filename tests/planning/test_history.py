"""The history of a route, and the way back through it."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.route import MAX_HISTORY, Entry, Promotion, Route, RouteKey, Setting, Share
from deployd.planning.history import (
    Act,
    aborted,
    find,
    introduced_last,
    rollback_target,
    routed,
    trail,
    with_promotion,
    with_rollback,
    with_setting,
)
from tests.planning.states import rollback_keeps

KEY = RouteKey("shop.example")
ACT = Act("me", 5.0)


def setting(*releases: str, app: str = "webapp", preview: bool = False) -> Setting:
    """``v1`` or ``v1=3``."""
    pairs = [release.partition("=") for release in releases]
    return Setting(app, "http", tuple(Share(name, int(weight or 1)) for name, _, weight in pairs), preview)


def route_of(*settings: Setting) -> Route:
    route: Route | None = None
    for each in settings:
        route = with_setting(route, KEY, each, ACT)
    assert route is not None
    return route


def back(route: Route) -> Route:
    target = rollback_target(route)
    assert target is not None
    return with_rollback(route, target, ACT)


def way(route: Route) -> list[tuple[str, ...]]:
    return [place.entry.setting.weighted for place in trail(route.entries)]


class SettingTests(SynchronousTestCase):
    def test_each_new_setting_is_one_more_entry(self) -> None:
        route = route_of(setting("v1"), setting("v1", "v2"))
        self.assertEqual([(entry.number, entry.what) for entry in route.entries], [(1, "set"), (2, "set")])
        self.assertEqual(route.entries[0], Entry(1, setting("v1"), 5.0, "me"))
        self.assertEqual((route.number, route.setting), (2, setting("v1", "v2")))

    def test_what_is_in_force_already_is_no_new_entry(self) -> None:
        route = route_of(setting("v1"))
        self.assertEqual(with_setting(route, KEY, setting("v1"), Act("you", 9.0)), route)

    def test_a_setting_ends_a_promotion(self) -> None:
        route = route_of(setting("v1"))
        going = evolve(route, promotion=Promotion("v2", (5, 100), 60.0, 1, setting("v1")))
        self.assertIsNone(with_setting(going, KEY, setting("v3"), ACT).promotion)
        self.assertEqual(with_setting(going, KEY, setting("v1"), ACT), route)
        self.assertIsNone(with_rollback(going, route.entries[0], ACT).promotion)

    def test_the_oldest_entries_go(self) -> None:
        route = route_of(*(setting(f"v{n}") for n in range(1, MAX_HISTORY + 6)))
        self.assertEqual((len(route.entries), route.entries[0].number, route.number), (MAX_HISTORY, 6, 105))
        self.assertIsNone(find(route, 5))
        self.assertEqual(find(route, 6), route.entries[0])


class RollbackTests(SynchronousTestCase):
    def test_it_goes_back_to_the_setting_before_the_newest_release(self) -> None:
        self.assertEqual(back(route_of(setting("v1"), setting("v2"))).setting, setting("v1"))

    def test_mixes_with_it_are_skipped(self) -> None:
        route = route_of(setting("v1"), setting("v1=9", "v2=1"), setting("v1", "v2"), setting("v2"))
        self.assertEqual(back(route).setting, setting("v1"))

    def test_a_mix_goes_back_to_what_was_before_its_newest_member(self) -> None:
        route = route_of(setting("v1"), setting("v1", "v3"), setting("v1=1", "v3=1", "v2=1"))
        self.assertEqual(back(route).setting, setting("v1", "v3"))

    def test_again_it_walks_further_back(self) -> None:
        route = back(route_of(setting("v1"), setting("v2"), setting("v3")))
        self.assertEqual(
            (route.setting, route.entries[-1].what, route.entries[-1].back_to), (setting("v2"), "rollback", 2)
        )
        again = back(route)
        self.assertEqual((again.setting, again.number), (setting("v1"), 5))
        self.assertIsNone(rollback_target(again))

    def test_what_is_set_after_a_rollback_is_left_to_where_that_had_come(self) -> None:
        route = with_setting(back(route_of(setting("v1"), setting("v2"))), KEY, setting("v3"), ACT)
        self.assertEqual(back(route).setting, setting("v1"))

    def test_one_that_came_twice_counts_from_the_second_time(self) -> None:
        route = route_of(setting("v1"), setting("v2"), setting("v1", "v2"))
        self.assertEqual(introduced_last(trail(route.entries)), ("webapp", "v1"))
        self.assertEqual(back(route).setting, setting("v2"))

    def test_of_two_that_came_together_the_newer_is_left(self) -> None:
        route = route_of(setting("v9"), setting("v9", "v10"), setting("v3"), setting("v9", "v10"))
        self.assertEqual(introduced_last(trail(route.entries)), ("webapp", "v10"))
        self.assertEqual(back(route).setting, setting("v3"))

    def test_a_share_without_weight_introduces_nothing(self) -> None:
        route = route_of(setting("v1"), setting("v1", "v2=0"))
        self.assertIsNone(rollback_target(route))

    def test_a_release_of_another_app_is_another(self) -> None:
        route = route_of(setting("v1", app="old"), setting("v1"))
        self.assertEqual(back(route).setting, setting("v1", app="old"))

    def test_one_setting_has_nothing_before_it(self) -> None:
        self.assertIsNone(rollback_target(route_of(setting("v1"))))
        self.assertIsNone(rollback_target(route_of(setting("v1"), setting("v1", preview=True))))

    def test_an_entry_off_the_way_stands_where_it_stood(self) -> None:
        route = back(route_of(setting("v1"), setting("v2")))
        wanted = find(route, 2)
        assert wanted is not None
        route = with_rollback(route, wanted, ACT)
        self.assertEqual(way(route), [("v1",), ("v2",)])
        self.assertEqual(back(route).setting, setting("v1"))

    def test_steps_of_a_promotion_are_mixes(self) -> None:
        base = setting("v1")
        route = route_of(setting("v0"), base)
        for shares in (("v1=95", "v2=5"), ("v1=75", "v2=25"), ("v2",)):
            route = with_promotion(route, setting(*shares), None, ACT)
        self.assertEqual({entry.what for entry in route.entries[2:]}, {"promote"})
        self.assertEqual(back(route).setting, base)

    def test_an_abort_cuts_off_what_the_promotion_led_to(self) -> None:
        base = setting("v1")
        promotion = Promotion("v2", (5, 100), 60.0, 1, base)
        route = with_promotion(route_of(setting("v0"), base), setting("v1=95", "v2=5"), promotion, ACT)
        over = aborted(route, promotion, ACT)
        self.assertEqual((over.setting, over.promotion, over.entries[-1].what), (base, None, "abort"))
        self.assertEqual(way(over), [("v0",), ("v1",)])
        self.assertEqual(back(over).setting, setting("v0"))

    def test_an_abort_after_a_history_that_is_gone_puts_the_base_back(self) -> None:
        base = setting("v1")
        promotion = Promotion("v2", (5, 100), 60.0, 1, base)
        only = Route(KEY, (Entry(7, setting("v1=95", "v2=5"), 1.0, "me", "promote"),), promotion)
        self.assertEqual(aborted(only, promotion, ACT).setting, base)


class KeptTests(SynchronousTestCase):
    def test_routed_is_what_has_weight_and_what_a_promotion_needs(self) -> None:
        going = Promotion("v4", (50, 100), 60.0, 1, setting("v3", "v5=0"))
        routes = (route_of(setting("v1", "v2=0")), evolve(route_of(setting("v3=1", "v4=1")), promotion=going))
        self.assertEqual(routed(routes), {("webapp", name) for name in ("v1", "v3", "v4")})

    def test_a_rollback_of_each_route_keeps_what_it_needs(self) -> None:
        routes = (route_of(setting("v1", "v2"), setting("v3")), route_of(setting("v4")))
        self.assertEqual(rollback_keeps(routes), {("webapp", "v1"), ("webapp", "v2")})


NAMES = ("v1", "v2", "v3", "v4")
settings_of = st.builds(
    lambda names, weights: setting(*(f"{name}={weight}" for name, weight in zip(names, weights, strict=True))),
    *[st.just(NAMES[:2]), st.lists(st.integers(0, 2), min_size=2, max_size=2)],
).filter(lambda each: bool(each.weighted)) | st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=3).map(
    lambda names: setting(*names)
)
deeds = st.lists(settings_of | st.none() | st.integers(1, 12), max_size=30)
"""A setting, a rollback (None), or one to a number."""


def played(doing: list[Setting | int | None]) -> Route:
    route = route_of(setting("v1"))
    for deed in doing:
        if isinstance(deed, Setting):
            route = with_setting(route, KEY, deed, ACT)
            continue
        target = rollback_target(route) if deed is None else find(route, deed)
        if target is not None:
            route = with_rollback(route, target, ACT)
    return route


class WalkingBackTests(SynchronousTestCase):
    @given(deeds)
    def test_the_way_ends_at_what_is_in_force(self, doing: list[Setting | int | None]) -> None:
        route = played(doing)
        self.assertEqual(trail(route.entries)[-1].entry.setting, route.setting)
        numbers = [place.number for place in trail(route.entries)]
        self.assertEqual(numbers, sorted(set(numbers)))

    @given(deeds)
    def test_walking_back_ends_and_each_time_without_the_release_that_came_last(
        self, doing: list[Setting | int | None]
    ) -> None:
        route = played(doing)
        while (target := rollback_target(route)) is not None:
            places = trail(route.entries)
            left = introduced_last(places)
            assert left is not None
            after = with_rollback(route, target, ACT)
            self.assertNotIn(left[1], after.setting.weighted)
            self.assertLess(len(trail(after.entries)), len(places))
            self.assertEqual(trail(after.entries), places[: len(trail(after.entries))])
            route = after

    @given(st.permutations([f"v{n}" for n in range(1, 8)]), st.lists(st.booleans(), min_size=6, max_size=6))
    def test_of_releases_that_came_once_none_that_was_left_returns(self, names: list[str], mixed: list[bool]) -> None:
        route = route_of(setting(names[0]))
        for name, mix in zip(names[1:], mixed, strict=True):
            shares = (*route.setting.weighted, name) if mix else (name,)
            route = with_setting(route, KEY, setting(*shares), ACT)
        left: set[str] = set()
        while (target := rollback_target(route)) is not None:
            came = introduced_last(trail(route.entries))
            assert came is not None
            left.add(came[1])
            route = with_rollback(route, target, ACT)
            self.assertFalse(left & set(route.setting.weighted))

    @given(deeds, st.integers(1, 20))
    def test_a_history_without_its_beginning_has_the_same_way_without_its_beginning(
        self, doing: list[Setting | int | None], kept: int
    ) -> None:
        route = played(doing)
        whole, rest = way(route), way(evolve(route, entries=route.entries[-kept:]))
        self.assertTrue(rest)
        self.assertEqual(rest, whole[-len(rest) :])

    @given(deeds)
    def test_a_history_is_bounded_and_numbered_without_gaps(self, doing: list[Setting | int | None]) -> None:
        route = played(doing * 6)
        self.assertLessEqual(len(route.entries), MAX_HISTORY)
        numbers = [entry.number for entry in route.entries]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    @given(deeds)
    def test_what_a_rollback_would_put_back_is_kept(self, doing: list[Setting | int | None]) -> None:
        route = played(doing)
        target = rollback_target(route)
        needed = set() if target is None else {("webapp", name) for name in target.setting.weighted}
        self.assertEqual(rollback_keeps([route]), needed)
