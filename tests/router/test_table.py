"""The routing table: where requests go for what hub and registry say."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.registration import Registration
from deployd.model.route import RouteKey
from deployd.model.router import TableItem
from deployd.router.decision import Decision
from tests.router.tables import DRONE, Told, commit, leaving, retiring, route, row


class RouteTests(SynchronousTestCase):
    def test_the_exact_host_comes_before_wildcards_and_the_longest_of_those_first(self) -> None:
        table = Told(
            route("*", v1=1), route("*.example", v2=1), route("*.shop.example", v3=1), route("a.shop.example", v4=1)
        )
        hosts = ("a.shop.example", "b.shop.example", "c.b.shop.example", "shop.example", "example", "x")
        self.assertEqual([table.release(host) for host in hosts], ["v4", "v3", "v3", "v2", "v1", "v1"])

    def test_the_longest_path_comes_first_and_ends_with_a_segment(self) -> None:
        table = Told(route(v1=1), route("shop.example", "/api", v2=1), route("shop.example", "/api/v2", v3=1))
        paths = ("/", "/apix", "/api", "/api/", "/api/x/y", "/api/v2", "/api/v2/x", "/api/v22", "*")
        found = [table.release("shop.example", path) for path in paths]
        self.assertEqual(found, ["v1", "v1", "v2", "v2", "v2", "v3", "v3", "v2", "v1"])

    def test_a_host_without_a_path_that_matches_leaves_it_to_a_wildcard(self) -> None:
        table = Told(route("shop.example", "/api", v1=1), route("*", v2=1))
        self.assertEqual(table.release("shop.example", "/other"), "v2")

    def test_without_a_route_it_is_404(self) -> None:
        table = Told(route("shop.example", "/api", v1=1))
        self.assertEqual([table.release("other"), table.release("shop.example")], ["404", "404"])

    def test_an_update_changes_what_it_names_and_nothing_else(self) -> None:
        table = Told(route("a", v1=1), route("b", v1=1), route("c", v1=1))
        table.delta(route("a", v2=1), TableItem(gone=RouteKey("b")))
        self.assertEqual([table.release(host) for host in "abc"], ["v2", "404", "v1"])

    def test_a_whole_table_leaves_nothing_of_the_one_before(self) -> None:
        table = Told(route("a", v1=1), route("b", "/x", v1=1), *leaving("http-1"))
        table.whole(DRONE, route("c", v1=1))
        self.assertEqual([table.release("a"), table.release("b", "/x"), table.release("c")], ["404", "404", "v1"])
        self.assertEqual(table.leaving, frozenset())

    def test_a_route_that_goes_and_never_was_is_no_harm(self) -> None:
        table = Told(route("a", v1=1))
        table.delta(TableItem(gone=RouteKey("b")), TableItem(lost="nobody"))
        self.assertEqual(table.release("a"), "v1")

    def test_a_route_without_any_weight_says_so(self) -> None:
        self.assertEqual(Told(route(v1=0)).release(), "503")

    def test_what_it_says_of_the_route_comes_with_the_decision(self) -> None:
        decision = Told(route(v1=1, https=1)).ask()
        assert isinstance(decision, Decision)
        self.assertEqual((decision.app, decision.redirect, decision.preview), ("shop", True, False))

    def test_a_request_waits_for_a_target_of_its_release_and_takes_no_other(self) -> None:
        table = Told(route(v1=1, v2=1), rows=[row("http-1", "v1")])
        self.assertIsNone(table.get(point=0.9))
        self.assertIsNotNone(table.get(point=0.1))

    def test_only_targets_in_the_route_s_role_and_app_get_its_requests(self) -> None:
        table = Told(route(v1=1), rows=[row("say-1", role="say"), row("http-2", app="other")])
        self.assertIsNone(table.get())


class StickyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Told(route(v1=1, v2=1, sticky=1))

    def asked(self, cookies: bytes, point: float = 0.0) -> tuple[str, bytes]:
        decision = self.table.ask(cookies=cookies, point=point)
        assert isinstance(decision, Decision)
        return decision.release, decision.cookie

    def test_a_client_is_given_its_release_to_keep(self) -> None:
        self.assertEqual(self.asked(b"", 0.9), ("v2", b"deployd_e23dd803=v2; Path=/; HttpOnly; SameSite=Lax"))

    def test_it_stays_there_and_is_told_nothing_again(self) -> None:
        for point in (0.0, 0.9):
            self.assertEqual(self.asked(b"a=b; deployd_e23dd803=v2", point), ("v2", b""))

    def test_it_stays_when_weights_change(self) -> None:
        self.table.delta(route(v1=1000, v2=1, v3=5, sticky=1))
        self.assertEqual(self.asked(b"deployd_e23dd803=v2"), ("v2", b""))

    def test_it_moves_once_its_release_has_no_weight(self) -> None:
        self.table.delta(route(v1=1, v2=0, v3=1, sticky=1))
        release, cookie = self.asked(b"deployd_e23dd803=v2")
        self.assertEqual((release, cookie[:20]), ("v1", b"deployd_e23dd803=v1;"))

    def test_what_a_client_makes_up_does_not_count(self) -> None:
        for value in (b"v9", b"", b"\xff", b"v1, v2"):
            release, cookie = self.asked(b"deployd_e23dd803=" + value)
            self.assertEqual((release, cookie != b""), ("v1", True))

    def test_with_a_single_release_nobody_needs_a_cookie(self) -> None:
        self.table.delta(route(v1=1, v2=0, sticky=1))
        self.assertEqual(self.asked(b"deployd_e23dd803=v2"), ("v1", b""))

    def test_without_sticky_a_cookie_is_neither_read_nor_given(self) -> None:
        self.table.delta(route(v1=1, v2=1))
        self.assertEqual(self.asked(b"deployd_e23dd803=v2"), ("v1", b""))


class PreviewTests(SynchronousTestCase):
    def setUp(self) -> None:
        rows = [row("http-1", "v1"), row("http-2", "v2"), row("http-3", "v31"), row("say-1", "v5", role="say")]
        self.table = Told(route(v1=1, v2=1, preview=1, sticky=1), route("plain.example", v1=1), rows=rows)

    def test_a_commit_is_reached_by_the_host_s_name(self) -> None:
        decision = self.table.ask("0031ccc.shop.example")
        assert isinstance(decision, Decision)
        self.assertEqual((decision.release, decision.preview, decision.cookie), ("v31", True, b""))
        target = decision.target(0.0)
        assert target is not None
        self.assertEqual(target.id, "http-3")

    def test_a_commit_is_reached_by_the_header_in_any_case(self) -> None:
        self.assertEqual(self.table.release(commit="0031CCC"), "v31")
        self.assertEqual(self.table.release(commit=commit("v31")), "v31")

    def test_by_name_no_cookie_is_read(self) -> None:
        decision = self.table.ask(commit="0031ccc", cookies=b"deployd_e23dd803=v2")
        assert isinstance(decision, Decision)
        self.assertEqual((decision.release, decision.cookie), ("v31", b""))

    def test_a_prefix_of_several_commits_is_409(self) -> None:
        self.table.put(row("http-9", "v310"))
        self.table.put(row("http-8", "v3100"))
        self.assertEqual(self.table.release(commit="0031"), "v31")
        self.table.put(row("http-7", "v7"), row("http-6", "v6"))
        self.table.put(self.of_commit("http-5", "v9", "0031d" + "0" * 35))
        self.assertEqual(self.table.release(commit="0031"), "409")
        self.assertEqual(self.table.release("0031.shop.example"), "409")
        self.assertEqual(self.table.release(commit="0031c"), "v31")

    def test_a_commit_that_does_not_run_in_the_role_is_404(self) -> None:
        self.assertEqual(self.table.release(commit="ffff"), "404")
        self.assertEqual(self.table.release(commit=commit("v5")), "404")
        self.assertEqual(self.table.release("ffff.shop.example"), "404")

    def test_what_cannot_be_a_commit_is_400(self) -> None:
        self.assertEqual([self.table.release(commit=text) for text in ("abc", "HEAD", "1" * 41)], ["400"] * 3)

    def test_the_newest_release_of_the_commit_is_taken_that_is_not_retiring(self) -> None:
        self.table.put(*(self.of_commit(f"http-n{n}", f"v{n}", "abcd" + "0" * 36) for n in (9, 10, 8)))
        self.assertEqual(self.table.release(commit="abcd"), "v10")
        self.table.delta(*retiring("v10"))
        self.assertEqual(self.table.release(commit="abcd"), "v9")
        self.table.free("http-n9")
        self.assertEqual(self.table.release(commit="abcd"), "v8")

    def test_a_route_without_preview_knows_no_names(self) -> None:
        self.assertEqual(self.table.release("plain.example", commit="0031ccc"), "v1")
        self.assertEqual(self.table.release("0031ccc.plain.example"), "404")

    def test_an_exact_host_comes_before_a_name(self) -> None:
        self.table.delta(route("0031.shop.example", v2=1))
        self.assertEqual(self.table.release("0031.shop.example"), "v2")

    def test_a_name_comes_before_a_wildcard(self) -> None:
        self.table.delta(route("*.shop.example", v2=1))
        self.assertEqual(self.table.release("0031.shop.example"), "v31")
        self.assertEqual(self.table.release("www.shop.example"), "v2")

    def test_a_wildcard_route_has_no_names_but_takes_the_header(self) -> None:
        self.table.delta(route("*.shop.test", v1=1, preview=1))
        self.assertEqual(self.table.release("0031.shop.test"), "v1")
        self.assertEqual(self.table.release("a.shop.test", commit="0031"), "v31")

    def test_a_name_under_a_star_is_no_name(self) -> None:
        self.table.whole(DRONE, route("*", v1=1, preview=1))
        self.assertEqual(self.table.release("0031.*"), "v1")

    def test_a_release_whose_name_is_of_two_commits_gives_the_one_asked_for(self) -> None:
        """A hub that lost its state numbers another commit the same."""
        self.table.put(self.of_commit("http-x", "v31", "abcd" + "0" * 36))
        for prefix, id in (("abcd", "http-x"), ("0031", "http-3")):
            decision = self.table.ask(commit=prefix)
            assert isinstance(decision, Decision)
            for _ in range(3):
                target = decision.target(0.0)
                assert target is not None
                self.assertEqual(target.id, id)

    def of_commit(self, id: str, release: str, commit: str) -> Registration:
        return evolve(row(id, release), namespace=commit)
