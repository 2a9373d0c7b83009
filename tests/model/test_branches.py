"""Branches as settings name them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from deployd.model.branches import is_named, patterns, with_name
from deployd.model.invalid import Invalid
from deployd.model.policy import Policy


class PatternTests(SynchronousTestCase):
    def test_name_branches_and_tags(self) -> None:
        for setting, ref, named in (
            ("all", "refs/heads/main", True),
            ("off", "refs/heads/main", False),
            ("main", "refs/heads/main", True),
            ("main", "refs/heads/mainly", False),
            ("main", "refs/tags/main", False),
            ("main,feature/*", "refs/heads/feature/a/b", True),
            ("feature/*", "refs/heads/Feature/a", False),
            ("v[12]", "refs/heads/v2", True),
            ("tags/v*", "refs/tags/v1", True),
        ):
            with self.subTest(setting=setting, ref=ref):
                self.assertEqual(is_named(setting, ref), named)

    def test_are_kept_as_short_names_each_once(self) -> None:
        self.assertEqual(patterns("allow-force", "refs/heads/main, feature/*,main"), "main,feature/*")

    def test_what_is_none_is_refused(self) -> None:
        for wrong in ("", "a b", "main,", "-f", "all,main", "main,off", "x" * 201, "a\x00", ",".join(["x"] * 51)):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(Invalid, "allow-force=.* names no branches"):
                patterns("allow-force", wrong)

    def test_a_refusal_names_the_setting_that_would_allow_it_and_nothing_that_a_shell_would_run(self) -> None:
        self.assertEqual(with_name("off", "refs/heads/main"), "main")
        self.assertEqual(with_name("feature/*", "refs/heads/main"), "'feature/*,main'")
        for ref in ("refs/heads/$(id)", "refs/heads/`x`", "refs/heads/a;b", "refs/heads/" + "x" * 101):
            self.assertEqual(with_name("off", ref), "BRANCH")


class PolicyTests(SynchronousTestCase):
    def test_has_them_and_goes_back_to_the_defaults(self) -> None:
        given = {"allow-force": "feature/*", "allow-delete": "off", "deploy-branch": "refs/heads/main"}
        policy = Policy().with_values(given)
        self.assertEqual(policy.values(), Policy().values() | given | {"deploy-branch": "main"})
        self.assertEqual(policy.with_values(dict.fromkeys(given, "")), Policy())

    def test_deploys_one_branch(self) -> None:
        for wrong in ("main,dev", "feature/*", "a b", "-x", "a..b"):
            with self.assertRaisesRegex(Invalid, "is not the name of a branch"):
                Policy().with_values({"deploy-branch": wrong})
