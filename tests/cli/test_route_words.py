"""What a person types about routes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.cli.route_words import app_and_role, route_key, shares, steps
from deployd.model.invalid import Invalid
from deployd.model.route import RouteKey


class WordsTests(SynchronousTestCase):
    def test_a_host_and_a_path_are_a_route(self) -> None:
        self.assertEqual(route_key("Shop.Example", "/api/"), RouteKey("shop.example", "/api"))
        self.assertEqual(route_key("*.example", "/"), RouteKey("*.example"))

    def test_the_role_is_after_the_last_colon(self) -> None:
        self.assertEqual(app_and_role("team/webapp:http"), ("team/webapp", "http"))
        for wrong in ("webapp", ":http", "webapp:", "a:b:c"):
            self.assertRaises(Invalid, app_and_role, wrong)

    def test_a_weight_is_one_unless_said(self) -> None:
        self.assertEqual(shares(["v1", "v2=9", "old=0"]), [("v1", 1), ("v2", 9), ("old", 0)])

    def test_a_branch_may_have_an_equals_sign(self) -> None:
        self.assertEqual(shares(["a=b=2"]), [("a=b", 2)])

    def test_weights_are_whole_numbers_and_one_is_above_nothing(self) -> None:
        for wrong in (["v1=-1"], ["v1=x"], ["v1="], ["=1"], ["v1=0"], ["v1=1", "v1=2"], ["v1=1000001"], ["v1=²"]):
            self.assertRaises(Invalid, shares, wrong)

    def test_steps_grow_up_to_all(self) -> None:
        self.assertEqual(steps("5, 25,100"), [5, 25, 100])
        self.assertEqual(steps("100"), [100])
        for wrong in ("", "5", "0,100", "5,5,100", "50,25,100", "5,100,101", "a"):
            self.assertRaises(Invalid, steps, wrong)

    @given(st.text())
    def test_any_text_is_a_value_or_one_sentence(self, text: str) -> None:
        for read in (app_and_role, steps, lambda word: shares([word]), lambda word: route_key(word, word)):
            try:
                read(text)
            except Invalid as error:
                self.assertNotIn("\n", str(error))
