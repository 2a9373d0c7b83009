"""What a push asks for is written before its refs move, and is true only if they did."""

from __future__ import annotations

import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.intents import forget_intent, moved_intents, write_intent
from deployd.git.receiving.receipt import Receipt
from deployd.git.receiving.reception import receive
from deployd.git.receiving.rules import PushRules
from deployd.git.refs import Move, move_refs
from deployd.model.intent import Intent
from deployd.model.policy import Policy
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects

MASTER = "refs/heads/master"
ONE, TWO = "1" * 40, "2" * 40


class IntentCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.path = self.hub.path

    def move(self, old: str | None, new: str | None) -> None:
        values = [value.encode() if value else None for value in (old, new)]
        self.assertEqual(move_refs(self.path, [Move(MASTER.encode(), *values)]), [""])

    def asked(self) -> list[str]:
        return [intent.id for intent in moved_intents(self.path)]


class MovedTests(IntentCase):
    def test_one_whose_ref_is_where_it_was_goes(self) -> None:
        write_intent(self.path, Intent("1a", MASTER, None, ONE))
        self.assertEqual(self.asked(), [])
        self.move(None, ONE)
        self.assertEqual(self.asked(), [])

    def test_one_whose_ref_has_moved_stays_until_it_is_forgotten(self) -> None:
        intents = [Intent("1a", MASTER, None, ONE, ("deploy", "deploy.need=1")), Intent("0b", MASTER, ONE, TWO)]
        for intent in intents:
            write_intent(self.path, intent)
            self.move(intent.old, intent.new)
        self.assertEqual(moved_intents(self.path), intents)
        self.assertEqual(moved_intents(self.path, "0b"), intents[1:])
        forget_intent(self.path, "1a")
        self.assertEqual(self.asked(), ["0b"])

    def test_one_whose_ref_has_moved_on_is_still_asked_for(self) -> None:
        write_intent(self.path, Intent("1a", MASTER, None, ONE))
        self.move(None, ONE)
        self.move(ONE, TWO)
        self.assertEqual(self.asked(), ["1a"])

    def test_what_a_damaged_disk_made_of_one_goes(self) -> None:
        (self.path / "deployd").mkdir()
        for content in (b"", b"\xff", b"[]", b'{"id": "1a"}'):
            (self.path / "deployd/deploy-1a.json").write_bytes(content)
            self.assertEqual(self.asked(), [])
        self.assertEqual(list((self.path / "deployd").iterdir()), [])


class PushTests(IntentCase):
    rules = PushRules()

    def push(self, *words: bytes, ref: str = MASTER, old: str = ZERO, caps: bytes = b"") -> Receipt:
        objects = Objects()
        self.tip = objects.commit(message=b"%d" % len(list(self.hub.files())))
        words_too = caps + b" report-status push-options"
        request = forge.push([(ref, old, self.tip), ("refs/heads/b", ZERO, self.tip)], objects.pack(), words_too, words)
        return receive(self.path, io.BytesIO(request), self.hub.limits, self.rules, intent="1a")

    def test_that_asks_for_a_deploy_leaves_an_intent(self) -> None:
        receipt = self.push(b"deploy.need=1")
        self.assertEqual(receipt.intent, "1a")
        self.assertEqual(moved_intents(self.path), [Intent("1a", MASTER, None, self.tip, ("deploy.need=1",))])

    def test_to_the_deploy_branch_leaves_one_unless_told_not_to(self) -> None:
        self.rules = PushRules(policy=Policy(deploy_branch="master"))
        self.assertEqual(self.push(b"no-deploy", ref="refs/heads/c").intent, "")
        receipt = self.push()
        self.assertEqual((receipt.intent, receipt.target, self.asked()), ("1a", MASTER, ["1a"]))

    def test_that_asks_for_none_leaves_nothing(self) -> None:
        self.assertEqual(self.push().intent, "")
        self.assertFalse(any("json" in name for name in self.hub.files()))

    def test_whose_ref_was_not_taken_leaves_none(self) -> None:
        """Also where another ref of the same push is."""
        receipt = self.push(b"deploy", old=ONE)
        self.assertEqual([update.ref for update in receipt.updates], ["refs/heads/b"])
        self.assertEqual((receipt.intent, self.asked()), ("", []))
        self.assertEqual(self.push(b"deploy", ref="refs/heads/d", caps=b"atomic").updates, [])
        self.assertEqual(self.asked(), [])

    def test_whose_intent_cannot_be_written_moves_nothing(self) -> None:
        (self.path / "deployd/deploy-1a.json.lock").mkdir(parents=True)
        receipt = self.push(b"deploy")
        self.assertIn(b"could not store it", receipt.report)
        self.assertEqual((receipt.updates, self.asked()), ([], []))
        self.assertNotIn("packed-refs", self.hub.files())
