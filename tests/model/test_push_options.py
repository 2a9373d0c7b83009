"""What may be said with ``git push -o``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.model.invalid import Invalid
from deployd.model.push_options import PushOptions

ONE, TWO = "1" * 40, "2" * 40


class OptionTests(SynchronousTestCase):
    def test_are_those_of_deployctl_deploy(self) -> None:
        words = [
            "deploy",
            "deploy.drone=d1",
            "deploy.drone=d2",
            "deploy.where=a=b",
            "deploy.need=50%",
            "deploy.timeout=9",
        ]
        self.assertEqual(
            PushOptions.parse(words),
            PushOptions(deploy=True, drones=("d1", "d2"), where=("a=b",), need="50%", timeout=9.0),
        )

    def test_each_of_them_means_deploy(self) -> None:
        for word in ("deploy.detach", "deploy.need=1", "deploy.where=a=b", "deploy.drone=d1", "deploy.timeout=1"):
            self.assertTrue(PushOptions.parse([word]).deploy, word)
        self.assertEqual(PushOptions.parse(["no-deploy"]), PushOptions(skip=True))
        self.assertEqual(PushOptions.parse([]), PushOptions())

    def test_what_is_wrong_is_a_sentence(self) -> None:
        for word, sentence in (
            ("deplyo", "there is no push option 'deplyo'; there are deploy, no-deploy, "),
            ("deploy=1", "there is no push option"),
            ("deploy.drone", "there is no push option"),
            ("", "there is no push option ''"),
            ("deploy.need=101%", "more than all drones"),
            ("deploy.need=", "is not a need"),
            ("deploy.where=x", "is not a label"),
            ("deploy.drone=a/b", "is not a drone name"),
            ("deploy.timeout=nan", "is not a number of seconds above 0"),
            ("deploy.timeout=soon", "is not a number of seconds above 0"),
        ):
            with self.subTest(word=word), self.assertRaisesRegex(Invalid, sentence.replace("(", r"\(")):
                PushOptions.parse([word])
        with self.assertRaisesRegex(Invalid, "contradict"):
            PushOptions.parse(["deploy.need=1", "no-deploy"])

    @given(st.lists(st.text(max_size=30), max_size=5))
    def test_no_words_do_anything_else(self, words: list[str]) -> None:
        try:
            PushOptions.parse(words)
        except Invalid as problem:
            self.assertNotIn("\n", str(problem))


class TargetTests(SynchronousTestCase):
    def target(self, **arriving: str) -> str:
        refs = {"refs/" + name.replace("_", "/"): commit for name, commit in arriving.items()}
        return PushOptions(deploy=True).target(refs)

    def test_is_the_one_branch_else_the_one_tag(self) -> None:
        self.assertEqual(self.target(heads_main=ONE), "refs/heads/main")
        self.assertEqual(self.target(tags_v1=TWO, heads_main=ONE), "refs/heads/main")
        self.assertEqual(self.target(tags_v1=TWO), "refs/tags/v1")
        self.assertEqual(self.target(heads_main=ONE, heads_dev=ONE), "refs/heads/main")
        self.assertEqual(PushOptions().target({"refs/heads/a": ONE, "refs/heads/b": TWO}), "")

    def test_of_several_or_none_is_refused(self) -> None:
        with self.assertRaisesRegex(Invalid, "this push has 2 branches: 'main', 'dev'; push one alone"):
            self.target(heads_main=ONE, heads_dev=TWO)
        with self.assertRaisesRegex(Invalid, "this push has 2 tags: 'tags/v1', 'tags/v2'"):
            self.target(tags_v1=ONE, tags_v2=TWO)
        with self.assertRaisesRegex(Invalid, "there is nothing to deploy"):
            self.target()
