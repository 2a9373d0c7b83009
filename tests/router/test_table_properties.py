"""The routing table against a model of it that looks at everything anew for each request."""

from __future__ import annotations

from collections import Counter

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.model.route import RouteKey, RouteLine, Setting, Share
from deployd.model.router import DroneHost, ReleaseKey, TableItem
from deployd.router.decision import Decision, Refusal
from deployd.router.target import Target
from tests.router.tables import Told, commit

APPS = ("shop", "shop", "shop", "team/shop")
ROLES = ("http", "http", "http", "say")
RELEASES = ("v1", "v2", "v10")
OWNERS = {"one": "192.0.2.1", "two": "192.0.2.2"}
HOSTS = ("shop.example", "a.shop.example", "*.shop.example", "*.example", "*", "0001.shop.example")
NAMED = ("0001.shop.example", "0010ccc.shop.example")
ASKED = ("shop.example", "shop.example", "a.shop.example", "b.a.shop.example", "x.example", *NAMED)
PATHS = ("/", "/api", "/api/v2")
ASKED_PATHS = ("/", "/api", "/apix", "/api/", "/api/v2/x", "/api/v22", "/other/api")

weights = st.integers(0, 3)
settings_of_routes = st.builds(
    Setting,
    app=st.sampled_from(APPS),
    role=st.sampled_from(ROLES),
    shares=st.lists(
        st.builds(Share, st.sampled_from(RELEASES), weights), min_size=1, unique_by=lambda each: each.release
    )
    .filter(lambda shares: any(share.weight for share in shares))
    .map(tuple),
    preview=st.booleans(),
    sticky=st.booleans(),
    https=st.booleans(),
)
keys = st.builds(RouteKey, st.sampled_from(HOSTS), st.sampled_from(PATHS))
lines = st.builds(RouteLine, keys, settings_of_routes)
points = st.floats(0, 1, exclude_max=True)
ids = st.integers(1, 8).map(lambda number: f"i-{number}")
rows = st.builds(
    lambda id, commit, release, role, app, owner, right, port: Registration(
        id, commit, role, OWNERS.get(owner if right else "one", "x"), port, app=app, release=release, owner=owner
    ),
    ids,
    st.sampled_from([commit("v1"), commit("v10"), "0010d".ljust(40, "0")]),
    st.sampled_from(RELEASES),
    st.sampled_from(ROLES),
    st.sampled_from(APPS),
    st.sampled_from([*OWNERS, *OWNERS, "nobody"]),
    st.integers(0, 5).map(bool),
    st.integers(20000, 20002),
)
departures = st.tuples(
    st.frozensets(ids, max_size=3),
    st.frozensets(st.builds(ReleaseKey, st.sampled_from(APPS), st.sampled_from(RELEASES)), max_size=2),
)
requests = st.tuples(
    st.sampled_from(ASKED), st.sampled_from(ASKED_PATHS), st.sampled_from(["", "0001", "0010", "00", "00c"])
)


def items_of(leaving: frozenset[str], retiring: frozenset[ReleaseKey]) -> list[TableItem]:
    return [*(TableItem(leaving=id) for id in leaving), *(TableItem(retiring=key) for key in retiring)]


@define
class Model:
    """What was said, as it was said."""

    routes: dict[RouteKey, Setting] = field(factory=dict)
    drones: dict[str, str] = field(factory=dict)
    rows: dict[str, Registration] = field(factory=dict)
    leaving: frozenset[str] = frozenset()
    retiring: frozenset[ReleaseKey] = frozenset()

    def route(self, host: str, path: str) -> tuple[RouteKey, str] | None:
        """The route of a request, and the commit that its host names."""

        label, _, rest = host.partition(".")
        wild = sorted((each for each in HOSTS if each[0] == "*" and host.endswith(each[1:])), key=len, reverse=True)
        for candidate, named in ((host, ""), (rest, label), *((each, "") for each in wild)):
            keys = [key for key in self.routes if key.host == candidate and _under(key.path, path)]
            best = max(keys, key=lambda key: len(key.path), default=None)
            if best is not None and (not named or (_is_hex(named) and self.routes[best].preview)):
                return best, named
        return None

    def eligible(self, app: str, role: str) -> list[Registration]:
        return [
            row
            for row in self.rows.values()
            if (row.app, row.role) == (app, role)
            and self.drones.get(row.owner) == row.host
            and row.id not in self.leaving
            and ReleaseKey(row.app, row.release) not in self.retiring
        ]


def _under(prefix: str, path: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(prefix + "/")


def _is_hex(label: str) -> bool:
    return len(label) > 3 and set(label) <= set("0123456789abcdef")


class TableMachine(RuleBasedStateMachine):
    """Any sequence of updates, rows, requests and their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Told()
        self.model = Model()
        self.under_way: list[Target] = []
        # A cluster that serves, so that most requests find a target.
        shares = tuple(Share(release, 1) for release in RELEASES)
        lines = [RouteLine(RouteKey(host), Setting("shop", "http", shares, True)) for host in ("shop.example", "*")]
        self.whole(lines, set(OWNERS), (frozenset(), frozenset()))
        numbered = enumerate([(owner, release) for owner in OWNERS for release in RELEASES], 1)
        self.all_rows(
            [
                Registration(
                    f"i-{n}", commit(release), "http", OWNERS[owner], 20000, app="shop", release=release, owner=owner
                )
                for n, (owner, release) in numbered
            ]
        )

    @rule(put=st.lists(lines, max_size=4), drones=st.sampled_from([{*OWNERS}, {*OWNERS}, {"one"}]), out=departures)
    def whole(self, put: list[RouteLine], drones: set[str], out: tuple[frozenset[str], frozenset[ReleaseKey]]) -> None:
        self.model.routes = {line.key: line.setting for line in put}
        self.model.drones = {owner: OWNERS[owner] for owner in drones}
        self.model.leaving, self.model.retiring = out
        known = [TableItem(drone=DroneHost(owner, host)) for owner, host in self.model.drones.items()]
        self.table.whole(*(TableItem(route=line) for line in put), *known, *items_of(*out))

    @rule(put=st.lists(lines, max_size=2), gone=st.lists(keys, max_size=2), out=departures)
    def delta(
        self, put: list[RouteLine], gone: list[RouteKey], out: tuple[frozenset[str], frozenset[ReleaseKey]]
    ) -> None:
        for key in gone:
            self.model.routes.pop(key, None)
        self.model.routes.update({line.key: line.setting for line in put})
        self.model.leaving, self.model.retiring = out
        going = [TableItem(gone=key) for key in gone]
        self.table.delta(*going, *(TableItem(route=line) for line in put), *items_of(*out))

    @rule(owner=st.sampled_from(sorted(OWNERS)), host=st.sampled_from([*OWNERS.values(), ""]))
    def drone(self, owner: str, host: str) -> None:
        self.model.drones[owner] = host
        item = TableItem(drone=DroneHost(owner, host)) if host else TableItem(lost=owner)
        self.table.delta(item, *items_of(self.model.leaving, self.model.retiring))

    @rule(put=st.lists(rows, max_size=4), gone=st.lists(ids, max_size=3))
    def some_rows(self, put: list[Registration], gone: list[str]) -> None:
        for id in gone:
            self.model.rows.pop(id, None)
        self.model.rows.update({row.id: row for row in put})
        self.table.rows_changed(put, gone, Revision("registry", self.table.registry.number + 1))

    @rule(put=st.lists(rows, max_size=6))
    def all_rows(self, put: list[Registration]) -> None:
        self.model.rows = {row.id: row for row in put}
        self.table.rows_replaced(put, Revision("registry", self.table.registry.number + 1))

    @rule(many=st.lists(st.tuples(requests, points), min_size=1, max_size=6))
    def requests(self, many: list[tuple[tuple[str, str, str], float]]) -> None:
        for (host, path, header), point in many:
            self.request(host, path, header, point)

    def request(self, host: str, path: str, header: str, point: float) -> None:
        decision = self.table.ask(host, path, commit=header, point=point)
        found = self.model.route(host, path)
        if found is None:
            assert isinstance(decision, Refusal)
            assert decision.status == 404
            return
        key, named = found
        setting = self.model.routes[key]
        eligible = self.model.eligible(setting.app, setting.role)
        prefix = named or (header if setting.preview else "")
        if prefix:
            self.named(decision, prefix, eligible)
        else:
            assert isinstance(decision, Decision)
            assert (decision.line.key, decision.preview) == (key, False)
            assert decision.release in setting.weighted
            self.send(decision, [row for row in eligible if row.release == decision.release])

    def named(self, decision: Decision | Refusal, prefix: str, eligible: list[Registration]) -> None:
        commits = {row.namespace for row in eligible if row.namespace.startswith(prefix)}
        if len(prefix) < 4 or len(commits) != 1:
            assert isinstance(decision, Refusal)
            assert decision.status == (400 if len(prefix) < 4 else 409 if commits else 404)
            return
        assert isinstance(decision, Decision)
        assert decision.preview
        assert not decision.cookie
        rows = [row for row in eligible if row.namespace in commits]
        assert decision.release == max((row.release for row in rows), key=lambda release: int(release[1:]))
        self.send(decision, [row for row in rows if row.release == decision.release])

    def send(self, decision: Decision, eligible: list[Registration]) -> None:
        now = self.table.clock.seconds()
        target = decision.target(now)
        assert (target is None) == (not eligible), (target, eligible)
        if target is None:
            return
        assert target.row() in eligible
        others = [self.table.rows.targets[row.id] for row in eligible]
        if not any(other.failures for other in others):
            assert target.in_flight == min(other.in_flight for other in others)
        self.table.begin(target)
        self.under_way.append(target)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), answer=st.sampled_from(["worked", "failed", "neither"]))
    def end(self, data: st.DataObject, answer: str) -> None:
        target = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        if answer == "worked":
            self.table.worked(target)
        elif answer == "failed":
            self.table.failed(target, self.table.clock.seconds())
        self.table.end(target)

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.table.clock.advance(seconds)

    @invariant()
    def the_accounts_are_right(self) -> None:
        standing = self.table.standing()
        ids = Counter(target.id for target in self.under_way if target.id in self.model.leaving)
        releases = Counter(str(ReleaseKey(target.app, target.release)) for target in self.under_way)
        retiring = {str(key) for key in self.model.retiring}
        assert standing.busy == dict(ids)
        assert standing.releases == {name: count for name, count in releases.items() if name in retiring}
        for target in self.under_way:
            assert target.in_flight == self.under_way.count(target)

    @invariant()
    def nothing_is_kept_that_nobody_needs(self) -> None:
        assert all(target in self.under_way for target in self.table.lingering)
        assert not any(pool.unused for pool in self.table.pools)
        in_pools = {target for pool in self.table.pools for target in pool}
        assert in_pools == set(self.table.rows.targets.values())
        assert self.table.rows.ids() == set(self.model.rows)


TableMachine.TestCase.settings = settings(deadline=None, max_examples=50, stateful_step_count=40)
TableMachineTests = TableMachine.TestCase


class OrderTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.lists(lines, unique_by=lambda line: line.key, max_size=8), st.randoms(use_true_random=False), points)
    def test_the_order_in_which_routes_are_told_is_irrelevant(
        self, given: list[RouteLine], random: object, point: float
    ) -> None:
        other = list(given)
        random.shuffle(other)  # type: ignore[attr-defined]
        tables = [Told(*(TableItem(route=line) for line in each)) for each in (given, other)]
        for host in ASKED:
            for path in ASKED_PATHS:
                one, two = (table.ask(host, path, point=point) for table in tables)
                if isinstance(one, Decision) and isinstance(two, Decision):
                    self.assertEqual((one.line, one.release, one.cookie), (two.line, two.release, two.cookie))
                else:
                    self.assertEqual(one, two)

    @settings(deadline=None)
    @given(st.lists(settings_of_routes, min_size=2, max_size=8), st.lists(points, min_size=8, max_size=8))
    def test_a_sticky_client_never_moves_while_its_release_has_weight(
        self, changes: list[Setting], points: list[float]
    ) -> None:
        table = Told()
        cookies, at = b"", ""
        for setting, point in zip(changes, points, strict=False):
            line = RouteLine(RouteKey("shop.example"), evolve(setting, sticky=True))
            table.delta(TableItem(route=line))
            decision = table.ask(cookies=cookies, point=point)
            assert isinstance(decision, Decision)
            if at in setting.weighted and cookies:
                self.assertEqual((decision.release, decision.cookie), (at, b""))
            else:
                self.assertIn(decision.release, setting.weighted)
            if decision.cookie:
                cookies, at = decision.cookie.partition(b";")[0], decision.release
