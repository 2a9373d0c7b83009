"""What a push may do by its app's policy, and the options that it brings."""

from __future__ import annotations

import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.limits import GitLimits
from deployd.git.problems import BadRequest
from deployd.git.receiving.receipt import Receipt
from deployd.git.receiving.reception import receive
from deployd.git.receiving.rules import PushRules
from deployd.git.refs import read_refs
from deployd.model.policy import Policy
from deployd.model.push_options import PushOptions
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects

MASTER = "refs/heads/master"
WITH_OPTIONS = b"report-status push-options"


class RulesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.rules = PushRules("webapp")

    def allow(self, **settings: str) -> None:
        values = {name.replace("_", "-"): value for name, value in settings.items()}
        self.rules = PushRules("webapp", Policy().with_values(values))

    def push(
        self,
        *commands: tuple[str, str, str],
        objects: Objects | None = None,
        options: tuple[bytes, ...] | None = None,
        caps: bytes = b"report-status",
    ) -> Receipt:
        request = forge.push(list(commands), b"", caps, options)
        if any(new != ZERO for _, _, new in commands):
            request += objects.pack() if objects is not None else forge.pack([])
        return receive(self.hub.path, io.BytesIO(request), self.hub.limits, self.rules)

    def refused(self, receipt: Receipt, sentence: str) -> None:
        self.assertEqual(receipt.updates, [])
        self.assertIn(sentence.encode(), receipt.report)

    def refs(self) -> dict[bytes, bytes]:
        return read_refs(self.hub.path).values


class ForceTests(RulesCase):
    def test_is_refused_with_the_setting_that_allows_it(self) -> None:
        here, objects = self.hub.pushed(), Objects()
        other = objects.commit(message=b"2")
        command = (MASTER, here, other)
        self.refused(
            self.push(command, objects=objects),
            "non-fast-forward; `deployctl app set webapp allow-force=master` allows it",
        )
        self.allow(allow_force="feature/*")
        self.refused(self.push(command, objects=objects), "allow-force='feature/*,master'` allows it")

    def test_moves_what_the_policy_names(self) -> None:
        for setting in ("all", "master", "dev,mast*"):
            self.setUp()
            here, objects = self.hub.pushed(), Objects()
            other = objects.commit(message=b"2")
            self.allow(allow_force=setting)
            (update,) = self.push((MASTER, here, other), objects=objects).updates
            self.assertEqual((update.new, update.forced, update.commits), (other, True, 1))
            self.assertEqual(self.hub.repositories.head("webapp"), other)

    def test_still_loses_against_who_came_first(self) -> None:
        first, objects = self.hub.pushed(), Objects()
        self.hub.pushed(MASTER, Objects(), first)
        self.allow(allow_force="all")
        self.refused(self.push((MASTER, first, objects.commit(message=b"2")), objects=objects), "moved meanwhile")

    def test_what_was_deployed_stays(self) -> None:
        here, objects = self.hub.pushed(), Objects()
        self.hub.repositories.keep("webapp", here)
        self.allow(allow_force="all", allow_delete="all")
        self.push((MASTER, here, objects.commit(message=b"2")), objects=objects)
        self.assertEqual(self.hub.repositories.resolve("webapp", here), here)
        for command in (("refs/deploy/" + here, here, ZERO), ("refs/deploy/x", ZERO, here)):
            self.refused(self.push(command), "deployd takes only branches and tags")


class DeletionTests(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.tip = self.hub.pushed()
        for ref in ("refs/heads/other", "refs/tags/v1"):
            self.assertEqual(len(self.push((ref, ZERO, self.tip)).updates), 1)

    def test_of_other_branches_and_tags_is_allowed_unless_the_policy_says_otherwise(self) -> None:
        self.allow(allow_delete="off")
        self.refused(
            self.push(("refs/heads/other", self.tip, ZERO)),
            "deletion refused; `deployctl app set webapp allow-delete=other` allows it",
        )
        self.allow(allow_delete="other")
        self.refused(self.push(("refs/tags/v1", self.tip, ZERO)), "allow-delete=other,tags/v1` allows it")
        self.assertEqual(len(self.push(("refs/heads/other", self.tip, ZERO)).updates), 1)
        self.allow(allow_delete="all")
        self.assertEqual(len(self.push(("refs/tags/v1", self.tip, ZERO)).updates), 1)
        self.assertEqual(set(self.refs()), {MASTER.encode()})

    def test_of_the_default_branch_is_never_allowed(self) -> None:
        self.allow(allow_delete="all")
        self.refused(self.push((MASTER, self.tip, ZERO)), "the default branch cannot be deleted")

    def test_refused_takes_an_atomic_push_with_it(self) -> None:
        self.allow(allow_delete="off")
        commands = (("refs/heads/new", ZERO, self.tip), ("refs/heads/other", self.tip, ZERO))
        before = self.refs()
        self.refused(self.push(*commands, caps=b"report-status atomic"), "ng refs/heads/new atomic push failed")
        self.assertEqual(self.refs(), before)
        self.assertEqual([update.ref for update in self.push(*commands).updates], ["refs/heads/new"])


class OptionTests(RulesCase):
    def test_are_read_between_commands_and_pack(self) -> None:
        objects = Objects()
        tip = objects.commit()
        receipt = self.push(
            (MASTER, ZERO, tip), objects=objects, options=(b"deploy", b"deploy.need=1"), caps=WITH_OPTIONS
        )
        self.assertEqual(receipt.options, PushOptions(deploy=True, need="1"))
        self.assertEqual((receipt.target, len(receipt.updates)), (MASTER, 1))

    def test_that_are_wrong_move_nothing(self) -> None:
        objects = Objects()
        command = (MASTER, ZERO, objects.commit())
        for option, sentence in (
            (b"deplyo", "there is no push option 'deplyo'"),
            (b"\xff", "there is no push option"),
            (b"deploy\nng x y", "there is no push option 'deploy\\nng x y'"),
            (b"deploy.need=0", "is not a need"),
        ):
            with self.subTest(option=option):
                self.refused(self.push(command, objects=objects, options=(option,), caps=WITH_OPTIONS), sentence)
        self.assertEqual((self.refs(), [name for name in self.hub.files() if "pack-" in name]), ({}, []))

    def test_to_deploy_several_branches_move_nothing(self) -> None:
        objects = Objects()
        commands = [(f"refs/heads/{name}", ZERO, objects.commit(message=name.encode())) for name in ("a", "b")]
        receipt = self.push(*commands, objects=objects, options=(b"deploy",), caps=WITH_OPTIONS)
        self.refused(receipt, "one branch can be deployed, this push has 2 branches: 'a', 'b'; push one alone")

    def test_are_bounded(self) -> None:
        self.hub.limits = GitLimits(push_options=2, option_bytes=10)
        for options in ((b"x",) * 3, (b"x" * 11,)):
            with self.assertRaisesRegex(BadRequest, "at most 2 options of 10 bytes"):
                self.push((MASTER, ZERO, "1" * 40), options=options, caps=WITH_OPTIONS)
        with self.assertRaises(BadRequest):
            receive(self.hub.path, io.BytesIO(forge.push([(MASTER, ZERO, "1" * 40)], b"", WITH_OPTIONS)), GitLimits())


class ArrivalTests(RulesCase):
    def test_counts_what_came_once(self) -> None:
        objects = Objects()
        tree = objects.tree()
        one = objects.commit(tree, message=b"1")
        two, three = (objects.commit(tree, one, message=message) for message in (b"2", b"3"))
        merge = objects.commit(tree, two, three, message=b"4")
        commands = [("refs/heads/merge", ZERO, merge), ("refs/heads/two", ZERO, two)]
        receipt = self.push(*commands, objects=objects)
        self.assertEqual([update.commits for update in receipt.updates], [4, 0])
        more = Objects()
        receipt = self.push(("refs/heads/two", two, more.commit(None, two)), objects=more)
        self.assertEqual([(update.commits, update.forced) for update in receipt.updates], [(1, False)])

    def test_the_default_branch_is_that_of_the_first_push(self) -> None:
        for names, head in ((["trunk"], "trunk"), (["dev", "master"], "master"), (["dev", "main", "master"], "main")):
            self.setUp()
            objects = Objects()
            tip = objects.commit()
            self.push(*((f"refs/heads/{name}", ZERO, tip) for name in names), objects=objects)
            self.assertEqual(read_refs(self.hub.path).head, f"refs/heads/{head}".encode())
            self.push(("refs/heads/later", ZERO, tip))
            self.assertEqual(read_refs(self.hub.path).head, f"refs/heads/{head}".encode())
