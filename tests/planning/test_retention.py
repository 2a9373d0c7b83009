"""What stays and what goes (design rule 2)."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.desired import Changes, Desired
from deployd.model.policy import AppPolicy, Policy
from deployd.model.release import Release, ReleaseState, Selector
from deployd.model.route import Entry, Promotion, Route, RouteKey, Setting, Share
from deployd.planning.history import routed
from deployd.planning.retention import fates, good_since, objection
from tests.planning.states import rollback_keeps

APPS = ("team/webapp", "webapp")
NOW = 1000.0
DEPLOYED, FAILED = ReleaseState.DEPLOYED, ReleaseState.FAILED


@st.composite
def settings(draw: st.DrawFn, app: str) -> Setting:
    numbers = draw(st.lists(st.integers(1, 6), unique=True, min_size=1, max_size=3))
    return Setting(app, "http", tuple(Share(f"v{number}", draw(st.integers(0, 2))) for number in numbers))


@st.composite
def routes(draw: st.DrawFn, host: str) -> Route:
    app = draw(st.sampled_from(APPS))
    entries: list[Entry] = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        back_to = draw(st.sampled_from([0, *range(1, number)]))
        setting = entries[back_to - 1].setting if back_to else draw(settings(app))
        entries.append(Entry(number, setting, 0.0, "me", back_to=back_to))
    promotion = None
    if draw(st.booleans()):
        release = f"v{draw(st.integers(1, 6))}"
        promotion = Promotion(release, (50, 100), 60.0, 1, draw(settings(app)))
    return Route(RouteKey(host), tuple(entries), promotion)


@st.composite
def releases(draw: st.DrawFn, app: str, number: int) -> Release:
    state = draw(st.sampled_from(ReleaseState))
    settled = Selector() if state is ReleaseState.DEPLOYING and draw(st.booleans()) else None
    good = draw(st.none() | st.floats(0, NOW)) if state is not DEPLOYED else draw(st.floats(0, NOW))
    return Release(
        app, number, f"{number:040x}", state, 0.0, settled=settled, good=good, pinned=draw(st.integers(0, 5)) == 0
    )


@st.composite
def states(draw: st.DrawFn) -> Desired:
    keys = draw(st.lists(st.tuples(st.sampled_from(APPS), st.integers(1, 6)), unique=True, max_size=10))
    policies = tuple(
        AppPolicy(app, Policy(keep=draw(st.integers(0, 3)), keep_for=draw(st.sampled_from([0.0, 500.0]))))
        for app in draw(st.sets(st.sampled_from(APPS)))
    )
    hosts = draw(st.sets(st.sampled_from(["a.example", "b.example", "c.example"])))
    return Desired().after(
        Changes(
            releases=tuple(draw(releases(app, number)) for app, number in keys),
            routes=tuple(draw(routes(host)) for host in sorted(hosts)),
            policies=policies,
        )
    )


def applied(state: Desired, running: set, now: float = NOW) -> Desired:
    going = [fate.release for fate in fates(state, "", running, now) if fate.goes]
    return state.after(Changes(releases=tuple(evolve(each, state=ReleaseState.RETIRING) for each in going)))


def everywhere(state: Desired) -> set:
    return set(state.releases)


class RetentionProperties(SynchronousTestCase):
    @given(states())
    def test_nothing_in_use_ever_goes(self, state: Desired) -> None:
        """Routed, promoted, or what a rollback needs; pinned, being deployed."""
        needed = routed(state.routes.values()) | rollback_keeps(state.routes.values())
        for fate in fates(state, "", everywhere(state), NOW):
            release = fate.release
            if (release.app, release.name) in needed or release.pinned or release.state is ReleaseState.DEPLOYING:
                self.assertFalse(fate.goes, fate)

    @given(states())
    def test_no_objection_of_an_explicit_retirement_is_passed_over(self, state: Desired) -> None:
        for fate in fates(state, "", everywhere(state), NOW):
            if fate.goes:
                self.assertEqual(objection(state, fate.release), "")

    @given(states())
    def test_as_many_good_ones_stay_as_the_policy_keeps(self, state: Desired) -> None:
        after = applied(state, everywhere(state))
        for app in APPS:
            good = [each for each in state.releases_of(app) if good_since(each) is not None]
            kept = max(1, state.policy(app).keep)
            for each in good[-kept:]:
                self.assertTrue(after.releases[each.key].state.wanted)

    @given(states())
    def test_the_young_stay(self, state: Desired) -> None:
        for fate in fates(state, "", everywhere(state), NOW):
            since = good_since(fate.release)
            if fate.goes and since is not None:
                self.assertGreaterEqual(NOW - since, state.policy(fate.release.app).keep_for)

    @given(states())
    def test_twice_is_the_same_as_once(self, state: Desired) -> None:
        once = applied(state, everywhere(state))
        self.assertFalse([fate for fate in fates(once, "", everywhere(state), NOW) if fate.goes])

    @given(states())
    def test_everything_that_drones_have_is_told_of_with_a_reason(self, state: Desired) -> None:
        found = fates(state, "", everywhere(state), NOW)
        self.assertEqual([fate.release.key for fate in found], sorted(fate.release.key for fate in found))
        over = (ReleaseState.RETIRING, ReleaseState.RETIRED)
        self.assertEqual(
            {fate.release.key for fate in found},
            {each.key for each in state.releases.values() if each.state not in over},
        )
        self.assertTrue(all(fate.reason for fate in found))

    @given(states(), st.sampled_from(APPS))
    def test_one_app_alone_is_decided_as_among_all(self, state: Desired, app: str) -> None:
        every = fates(state, "", everywhere(state), NOW)
        self.assertEqual(
            fates(state, app, everywhere(state), NOW), tuple(fate for fate in every if fate.release.app == app)
        )


class RetentionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Desired()

    def add(self, *states: ReleaseState, app: str = "webapp", **changes: object) -> None:
        for state in states:
            number = len(self.state.releases_of(app)) + 1
            good = float(number) if state is DEPLOYED else None
            release = evolve(Release(app, number, f"{number:040x}", state, float(number), good=good), **changes)
            self.state = self.state.after(Changes(releases=(release,)))

    def keep(self, app: str = "webapp", **values: str) -> None:
        policy = Policy().with_values({key.replace("_", "-"): value for key, value in values.items()})
        self.state = self.state.after(Changes(policies=(AppPolicy(app, policy),)))

    def route(self, *settings: dict[str, int], promotion: Promotion | None = None) -> None:
        entries = tuple(
            Entry(n, Setting("webapp", "http", tuple(Share(*share) for share in each.items())), 0.0, "me")
            for n, each in enumerate(settings, 1)
        )
        self.state = self.state.after(Changes(routes=(Route(RouteKey("shop.example"), entries, promotion),)))

    def fates(self, app: str = "webapp", now: float = NOW, running: bool = True) -> dict[str, str]:
        """The reason of each, with + for those that stay."""
        keys = everywhere(self.state) if running else set()
        found = fates(self.state, app, keys, now)
        return {fate.release.name: ("" if fate.goes else "+ ") + fate.reason for fate in found}

    def gone(self, app: str = "webapp") -> set[str]:
        return {name for name, reason in self.fates(app).items() if not reason.startswith("+")}

    def test_failed_ones_take_no_place_of_good_ones(self) -> None:
        """Else recovering from too many failures deletes the last that worked (capistrano#2120)."""
        self.keep(keep="2")
        self.add(DEPLOYED, *[FAILED] * 5, DEPLOYED)
        self.assertEqual(self.gone(), {"v2", "v3", "v4", "v5", "v6"})

    def test_what_one_app_keeps_takes_no_place_from_another(self) -> None:
        """Else a deploy of one removes what another would go back to (kamal#1922)."""
        self.keep(keep="2")
        self.keep("team/webapp", keep="2")
        self.add(DEPLOYED, DEPLOYED)
        self.add(*[DEPLOYED] * 5, app="team/webapp")
        self.assertEqual(self.gone(), set())
        self.assertEqual(self.gone("team/webapp"), {"v1", "v2", "v3"})

    def test_each_reason_is_a_sentence(self) -> None:
        self.keep(keep="2")
        self.add(*[DEPLOYED] * 7)
        self.add(FAILED)
        self.state = self.state.after(Changes(releases=(evolve(self.state.releases["webapp", 3], pinned=True),)))
        self.route({"v1": 1}, {"v4": 1, "v5": 0})
        self.assertEqual(
            self.fates(),
            {
                "v1": "+ a rollback of shop.example would put it back",
                "v2": "no route uses it; v6 and newer good ones are kept",
                "v3": "+ it is pinned",
                "v4": "+ shop.example sends requests to it",
                "v5": "no route uses it; v6 and newer good ones are kept",
                "v6": "+ it is among the newest 2 good releases (keep=2)",
                "v7": "+ it is the app's newest good release",
                "v8": "its deploy failed and no route uses it",
            },
        )

    def test_a_promotion_keeps_what_it_leads_to_and_what_it_came_from(self) -> None:
        self.add(*[DEPLOYED] * 4)
        base = Setting("webapp", "http", (Share("v1", 1),))
        self.route({"v3": 1}, promotion=Promotion("v2", (5, 100), 60.0, 0, base))
        self.assertEqual(self.gone(), set())
        self.assertEqual(self.fates()["v2"], "+ a promotion on shop.example involves it")
        self.assertIn("deployctl abort shop.example", objection(self.state, self.state.releases["webapp", 1]))

    def test_the_newest_stays_where_none_is_good(self) -> None:
        self.add(FAILED, FAILED)
        self.assertEqual(self.gone(), {"v1"})
        self.assertEqual(self.fates()["v2"], "+ it is the newest release, and none is good")

    def test_failed_ones_that_run_nowhere_are_not_told_of(self) -> None:
        self.add(FAILED, DEPLOYED)
        self.assertEqual(list(self.fates(running=False)), ["v2"])

    def test_those_of_before_count_as_good_since_they_were_created(self) -> None:
        self.keep(keep_for="10s")
        self.add(DEPLOYED, DEPLOYED, good=None)
        self.assertEqual(self.fates(now=5.0)["v1"], "+ it was good 4 s ago (keep-for=10s)")
        self.assertEqual(self.fates(now=11.0)["v1"], "no route uses it; v2 is newer and kept")

    def test_an_old_one_that_was_deployed_again_is_not_taken_at_once(self) -> None:
        self.add(DEPLOYED, DEPLOYED, DEPLOYED)
        self.state = self.state.after(Changes(releases=(evolve(self.state.releases["webapp", 1], good=9.0),)))
        self.assertEqual(self.fates()["v1"], "+ it was deployed last")
        self.assertEqual(self.gone(), {"v2"})

    def test_objections_say_what_to_do(self) -> None:
        self.add(DEPLOYED, DEPLOYED)
        self.add(DEPLOYED, pinned=True)
        self.route({"v1": 1, "v2": 0})
        v1, v2, v3 = self.state.releases_of("webapp")
        self.assertEqual(
            objection(self.state, v1),
            "shop.example sends requests to v1; lead it elsewhere first: `deployctl route set`",
        )
        self.assertEqual(objection(self.state, v2), "")
        self.assertEqual(objection(self.state, v3), "v3 is pinned; `deployctl unpin webapp v3` first")
