"""What a router is told: what has changed leads to the same as everything."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.hub.router_table import Pages, Table
from deployd.model.revision import Revision
from deployd.model.route import Promotion, Route, RouteKey, Setting, Share
from deployd.model.router import ReleaseKey
from deployd.planning.history import Act, with_setting

Followed = tuple[dict[RouteKey, Setting], dict[str, str], set[str], set[ReleaseKey]]
HOSTS = ("a.example", "b.example", "*", "*.example")


def setting(weight: int) -> Setting:
    return Setting("webapp", "http", (Share("v1", weight),))


def route(host: str, weight: int) -> Route:
    return with_setting(None, RouteKey(host), setting(weight), Act("me", 0.0))


@st.composite
def tables(draw: st.DrawFn, number: int, like: Table | None = None) -> Table:
    """Some of its routes are the very ones of ``like``."""
    old = dict(like.routes) if like else {}
    names = draw(st.lists(st.sampled_from(HOSTS), unique=True))
    routes = {RouteKey(name): route(name, draw(st.integers(1, 2))) for name in names}
    kept = {key: each for key, each in old.items() if draw(st.booleans())}
    drones = draw(st.dictionaries(st.sampled_from(["o1", "o2"]), st.sampled_from(["192.0.2.1", "192.0.2.2"])))
    leaving = draw(st.frozensets(st.sampled_from(["http-1", "http-2"])))
    retiring = draw(st.frozensets(st.sampled_from([ReleaseKey("webapp", "v1"), ReleaseKey("webapp", "v2")])))
    return Table(Revision("epoch", number), routes | kept, drones, leaving, retiring)


def after(before: Followed, pages: Pages, whole: bool) -> Followed:
    routes, drones = ({}, {}) if whole else (dict(before[0]), dict(before[1]))
    leaving, retiring = set(), set()
    for item in (item for page in pages for item in page):
        if item.route is not None:
            routes[item.route.key] = item.route.setting
        elif item.gone is not None:
            del routes[item.gone]
        elif item.drone is not None:
            drones[item.drone.owner] = item.drone.host
        elif item.lost:
            del drones[item.lost]
        elif item.leaving:
            leaving.add(item.leaving)
        elif item.retiring is not None:
            retiring.add(item.retiring)
    return routes, drones, leaving, retiring


NOTHING: Followed = ({}, {}, set(), set())


class TableTests(SynchronousTestCase):
    @given(st.data())
    def test_what_has_changed_leads_to_the_same_as_everything(self, data: st.DataObject) -> None:
        old = data.draw(tables(1))
        new = data.draw(tables(2, old))
        everything = after(NOTHING, new.pages(None), whole=True)
        followed = after(NOTHING, old.pages(None), whole=True)
        self.assertEqual(after(followed, new.pages(old), whole=False), everything)
        self.assertEqual(everything[0], {key: each.setting for key, each in new.routes.items()})
        self.assertEqual(new.says_the_same(old), followed == everything)

    def test_one_change_of_many_is_one_line(self) -> None:
        routes = {RouteKey(f"h{n}.example"): route(f"h{n}.example", 1) for n in range(1000)}
        old = Table(Revision("epoch", 1), routes)
        key = RouteKey("h5.example")
        new = Table(Revision("epoch", 2), routes | {key: route(key.host, 7)})
        self.assertEqual([[item.route.key for item in page if item.route] for page in new.pages(old)], [[key]])

    def test_a_promotion_that_pauses_is_nothing_to_routers(self) -> None:
        key = RouteKey("a.example")
        going = evolve(route("a.example", 1), promotion=Promotion("v2", (5, 100), 60.0, 1, setting(1)))
        old, new = Table(routes={key: going}), Table(routes={key: evolve(going, promotion=None)})
        self.assertTrue(new.says_the_same(old))

    def test_routers_that_follow_the_same_table_are_told_by_the_same_lines(self) -> None:
        old, new = Table(Revision("epoch", 1)), Table(Revision("epoch", 2), {RouteKey("*"): route("*", 1)})
        self.assertIs(new.pages(old), new.pages(old))
        self.assertIs(new.pages(None), new.pages(None))
