"""Which worker gets which job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from deployd.git.work.allotting import Allotment, Post, Wish, allot

WISHES = st.lists(st.builds(Wish, st.sampled_from("abc"), st.sampled_from(["push", "fetch"])), max_size=12)
POSTS = st.lists(
    st.builds(
        Post,
        st.sampled_from(["idle", "starting", "busy", "leaving"]),
        st.sampled_from(["push", "fetch"]),
        st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
        st.floats(0, 9),
    ),
    max_size=5,
)


class AllottingTests(SynchronousTestCase):
    def test_prefers_who_has_the_repository_open_then_who_rests_longest(self) -> None:
        posts = [Post("idle", since=1.0), Post("idle", repositories=("b",), since=5.0), Post("idle", since=3.0)]
        self.assertEqual(allot([Wish("b", "")], posts, 3).given, ((0, 1),))
        self.assertEqual(allot([Wish("x", "")], posts, 3).given, ((0, 0),))

    def test_starts_as_many_as_are_missing_and_may_be(self) -> None:
        self.assertEqual(allot([Wish("a", ""), Wish("b", "")], [], 2), Allotment((), 2))
        self.assertEqual(allot([Wish("a", ""), Wish("b", "")], [Post("starting")], 2), Allotment((), 1))
        self.assertEqual(allot([Wish("a", "")], [Post("leaving")], 1), Allotment((), 0))

    def test_leaves_a_worker_to_other_kinds(self) -> None:
        busy = [Post("busy", "fetch"), Post("busy", "fetch"), Post("idle")]
        wishes = [Wish("a", "fetch"), Wish("b", "push")]
        self.assertEqual(allot(wishes, busy, 3).given, ((1, 2),))

    def test_one_worker_does_everything(self) -> None:
        self.assertEqual(allot([Wish("a", "fetch")], [Post("idle")], 1).given, ((0, 0),))

    @given(WISHES, POSTS, st.integers(1, 6))
    def test_gives_to_the_idle_only_each_once_and_starts_no_more_than_may_be(
        self, wishes: list[Wish], posts: list[Post], most: int
    ) -> None:
        allotment = allot(wishes, posts, most)
        given_to = [post for _, post in allotment.given]
        self.assertTrue(all(posts[post].doing == "idle" for post in given_to))
        self.assertEqual(len(set(given_to)), len(given_to))
        self.assertTrue(allotment.start == 0 or len(posts) + allotment.start <= most)
        if most > 1:
            for kind in ("push", "fetch"):
                begun = sum(wishes[wish].kind == kind for wish, _ in allotment.given)
                before = sum(post.doing == "busy" and post.kind == kind for post in posts)
                self.assertTrue(begun == 0 or before + begun < most)

    @given(WISHES, POSTS, st.integers(1, 6))
    def test_leaves_nobody_idle_whom_somebody_waits_for(self, wishes: list[Wish], posts: list[Post], most: int) -> None:
        given_to = allot(wishes, posts, most).given
        idle = sum(post.doing == "idle" for post in posts) - len(given_to)
        left = [wish for number, wish in enumerate(wishes) if number not in {number for number, _ in given_to}]
        full = {
            kind
            for kind in ("push", "fetch")
            if sum(post.doing == "busy" and post.kind == kind for post in posts)
            + sum(wishes[wish].kind == kind for wish, _ in given_to)
            >= max(1, most - 1)
        }
        self.assertTrue(not idle or all(wish.kind in full for wish in left))
