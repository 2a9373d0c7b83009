"""Which requests a route takes, and which release each of them goes to."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.route import MAX_WEIGHT, RouteKey, Share
from deployd.planning.routing import (
    Split,
    commit_prefix,
    cookie_name,
    cookie_value,
    prefixes,
    preview_name,
    set_cookie,
    wildcards,
)

weights = st.lists(st.integers(0, MAX_WEIGHT), min_size=1, max_size=8).filter(any)
small_weights = st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any)
points = st.floats(0, 1, exclude_max=True)
paths = st.lists(st.sampled_from(["a", "b", "api", ""]), max_size=5).map(lambda parts: "/" + "/".join(parts))
quickly = settings(deadline=None)


def shares(weights: list[int]) -> tuple[Share, ...]:
    return tuple(Share(f"v{number}", weight) for number, weight in enumerate(weights, 1))


class SplitTests(SynchronousTestCase):
    @quickly
    @given(weights, points)
    def test_any_point_gives_a_release_that_has_weight(self, weights: list[int], point: float) -> None:
        split = Split.of(shares(weights))
        chosen = split.releases[split.at(point)]
        self.assertIn(Share(chosen, weights[int(chosen[1:]) - 1]), [share for share in shares(weights) if share.weight])

    @quickly
    @given(small_weights)
    def test_evenly_spread_points_give_each_release_its_share(self, weights: list[int]) -> None:
        split = Split.of(shares(weights))
        total, many = sum(weights), 10
        # In the middles of as many equal pieces as there is weight, ten each: the count is the weight itself.
        count = Counter(split.releases[split.at((i + 0.5) / (total * many))] for i in range(total * many))
        wanted = {share.release: share.weight * many for share in shares(weights) if share.weight}
        self.assertEqual(count, Counter(wanted))

    @quickly
    @given(weights)
    def test_a_larger_point_never_gives_an_earlier_release(self, weights: list[int]) -> None:
        split = Split.of(shares(weights))
        chosen = [split.at(i / 100) for i in range(100)]
        self.assertTrue(all(one <= other for one, other in pairwise(chosen)))

    def test_the_last_point_below_one_gives_the_last_release(self) -> None:
        last = 1 - 2**-53
        for weight in range(1, 100):
            self.assertEqual(Split.of((Share("v1", weight), Share("v2", 2 * weight))).at(last), 1)

    def test_without_weight_there_is_no_release(self) -> None:
        self.assertEqual(Split.of((Share("v1", 0),)), Split((), ()))


class HostTests(SynchronousTestCase):
    def test_the_longest_rest_is_the_most_specific_wildcard(self) -> None:
        self.assertEqual(list(wildcards(b"a.shop.example")), [b"*.shop.example", b"*.example", b"*"])

    def test_a_single_name_is_taken_by_any_only(self) -> None:
        self.assertEqual(list(wildcards(b"localhost")), [b"*"])
        self.assertEqual(list(wildcards(b"")), [b"*"])

    def test_a_host_longer_than_hosts_are_costs_no_search(self) -> None:
        self.assertEqual(list(wildcards(b"a." * 5000)), [b"*"])

    def test_a_label_of_4_to_40_hex_digits_names_a_commit(self) -> None:
        self.assertEqual(preview_name(b"74336bc.shop.example"), ("74336bc", b"shop.example"))
        self.assertEqual(preview_name(b"f" * 40 + b".shop.example"), ("f" * 40, b"shop.example"))
        for host in (b"743.shop.example", b"f" * 41 + b".shop", b"7433g.shop", b"shop.example", b"7433", b"7433.", b""):
            self.assertIsNone(preview_name(host))

    def test_a_commit_is_asked_for_in_any_case_but_in_ascii_only(self) -> None:
        self.assertEqual(commit_prefix(b"74336BC"), "74336bc")
        for text in (b"", b"743", b"HEAD", b" 74336bc", "\uff11\uff12\uff13\uff14".encode(), b"\xff" * 8):
            self.assertIsNone(commit_prefix(text))


def naively_matches(prefix: str, path: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(prefix + "/")


class PathTests(SynchronousTestCase):
    @quickly
    @given(paths, st.lists(paths.map(lambda path: path.rstrip("/") or "/"), min_size=1))
    def test_the_first_prefix_found_is_the_longest_that_matches(self, path: str, routes: list[str]) -> None:
        naive = max((route for route in [*routes, "/"] if naively_matches(route, path)), key=len)
        known = {route.encode() for route in [*routes, "/"]}
        found = next(each for each in prefixes(path.encode(), max(map(len, known))) if each in known)
        self.assertEqual(found, naive.encode())

    def test_a_prefix_ends_where_a_segment_ends(self) -> None:
        self.assertEqual(list(prefixes(b"/api/x", 100)), [b"/api/x", b"/api", b"/"])
        self.assertNotIn(b"/api", list(prefixes(b"/apix", 100)))
        self.assertIn(b"/api", list(prefixes(b"/api", 4)))
        self.assertIn(b"/api", list(prefixes(b"/api/", 4)))

    def test_a_long_path_is_looked_at_no_further_than_routes_are_long(self) -> None:
        self.assertLessEqual(len(list(prefixes(b"/" * 100_000, 255))), 256)

    def test_what_is_no_path_is_taken_by_the_root_only(self) -> None:
        for path in (b"*", b"", b"x"):
            self.assertEqual(list(prefixes(path, 100))[-1], b"/")


class CookieTests(SynchronousTestCase):
    def test_each_route_has_its_own_cookie(self) -> None:
        names = {cookie_name(RouteKey(host, path)) for host in ("a", "a.b") for path in ("/", "/b", "/a")}
        self.assertEqual(len(names), 6)
        self.assertTrue(all(name.startswith(b"deployd_") and len(name) == 16 for name in names))

    def test_a_route_keeps_the_name_of_its_cookie_for_ever(self) -> None:
        self.assertEqual(cookie_name(RouteKey("shop.example")), b"deployd_e23dd803")

    def test_the_value_is_found_among_others(self) -> None:
        for cookies in (
            b"n=v1",
            b"a=b; n=v1",
            b"n=v1; a=b",
            b"xn=v2;n=v1",
            b"a=n; n = v1 ;b",
            b'n="v1"',
            b"n=v1; n=v2",
        ):
            self.assertEqual(cookie_value(cookies, b"n"), b"v1")

    def test_without_the_cookie_there_is_no_value(self) -> None:
        for cookies in (b"", b"a=n", b"xn=v1", b"n", b"nx=v1", b";;=;", b"n="):
            self.assertEqual(cookie_value(cookies, b"n"), b"")

    def test_it_is_for_the_paths_of_the_route_and_for_no_script(self) -> None:
        self.assertEqual(
            set_cookie(b"n", RouteKey("shop.example", "/api"), "v12"), b"n=v12; Path=/api; HttpOnly; SameSite=Lax"
        )

    def test_a_path_cannot_add_an_attribute(self) -> None:
        self.assertIn(b"; Path=/a; ", set_cookie(b"n", RouteKey("h", "/a/b;Domain=example/c"), "v1"))
        self.assertIn(b"; Path=/; ", set_cookie(b"n", RouteKey("h", "/;Secure"), "v1"))

    @quickly
    @given(st.binary(max_size=200))
    def test_no_text_of_a_client_breaks_it(self, cookies: bytes) -> None:
        cookie_value(cookies, b"n")
        commit_prefix(cookies)
        preview_name(cookies)
        self.assertEqual(list(prefixes(cookies, 50))[-1], b"/")
