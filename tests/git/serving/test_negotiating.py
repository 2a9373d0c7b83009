"""What a reader hears of what it has, round by round, as C git's server would say it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.problems import BadRequest
from tests.git.packs.histories import History, repository, store
from tests.git.serving.clients import Server, command, lines, told

CAPS = "side-band-64k ofs-delta"


class Negotiating(SynchronousTestCase):
    """``main`` has five commits here; the reader has two of its own behind the second."""

    def setUp(self) -> None:
        self.made = History()
        for number in range(5):
            parents = self.made.commits[-1:]
            self.made.commit({("f",): ("100644", number)}, parents)
        self.root, self.second, _, _, self.tip = self.made.commits
        self.mine = ["a" * 40, "b" * 40]
        path = repository(Path(self.mktemp()))
        store(path, self.made, self.made.objects)
        self.server = Server(path, path / "target")
        self.server.set_refs({"refs/heads/main": self.tip}, self.made)

    def round(self, words: str, *rest: str) -> tuple[list[str], bool]:
        """(answer of version 0, whether a pack follows)."""
        understood = self.server.understand(lines(f"want {self.tip} {CAPS} {words}".strip(), "", *rest), 0)
        return told(understood.reply), understood.recipe is not None

    def haves(self, *names: str) -> list[str]:
        return [f"have {name}" for name in names]

    def test_a_clone_has_nothing_in_common(self) -> None:
        for words in ("", "multi_ack", "multi_ack_detailed no-done"):
            self.assertEqual(self.round(words, "done"), (["NAK"], True))

    def test_nothing_in_common_yet_is_said_so(self) -> None:
        for words in ("", "multi_ack", "multi_ack_detailed no-done"):
            self.assertEqual(self.round(words, *self.haves(*self.mine), ""), (["NAK"], False))

    def test_what_is_common_is_said_in_the_readers_way(self) -> None:
        asked = [*self.haves(*self.mine, self.second, self.root), ""]
        self.assertEqual(self.round("", *asked), ([f"ACK {self.second}"], False))
        both = [f"ACK {self.second} continue", f"ACK {self.root} continue"]
        self.assertEqual(self.round("multi_ack", *asked), ([*both, "NAK"], False))
        both = [f"ACK {self.second} common", f"ACK {self.root} common"]
        self.assertEqual(self.round("multi_ack_detailed", *asked), ([*both, "NAK"], False))

    def test_it_is_enough_at_a_commit_that_only_the_reader_has_or_after_a_round_without_any(self) -> None:
        ready = [f"ACK {self.second} common", f"ACK {self.second} ready", "NAK"]
        self.assertEqual(self.round("multi_ack_detailed", *self.haves(self.second), ""), (ready, False))
        asked = [*self.haves(self.mine[0], self.second, self.mine[1]), ""]
        ready = [f"ACK {self.second} common", f"ACK {self.mine[1]} ready", "NAK"]
        self.assertEqual(self.round("multi_ack_detailed", *asked), (ready, False))
        ready = [f"ACK {self.second} continue", f"ACK {self.mine[1]} continue", "NAK"]
        self.assertEqual(self.round("multi_ack", *asked), (ready, False))

    def test_only_with_no_done_does_a_pack_follow_what_is_enough(self) -> None:
        """A pack that comes before a client says done makes one that must say it wait for ever."""
        answer, sends = self.round("multi_ack_detailed no-done", *self.haves(self.second), "")
        expected = [f"ACK {self.second} common", f"ACK {self.second} ready", "NAK", f"ACK {self.second}"]
        self.assertEqual((answer, sends), (expected, True))

    def test_done_ends_it(self) -> None:
        asked = [*self.haves(*self.mine, self.second), "done"]
        self.assertEqual(self.round("", *asked), ([f"ACK {self.second}"], True))
        self.assertEqual(self.round("multi_ack", *asked)[0], [f"ACK {self.second} continue", f"ACK {self.second}"])
        answer, sends = self.round("multi_ack_detailed", *asked)
        self.assertEqual((answer, sends), ([f"ACK {self.second} common", f"ACK {self.second}"], True))

    def test_it_is_not_enough_while_a_want_leads_to_nothing_common(self) -> None:
        other = self.made.commit({}, [])
        store(self.server.path, self.made, [other, *self.made.reachable([other])])
        self.server.set_refs({"refs/heads/main": self.tip, "refs/heads/other": other}, self.made)
        asked = lines(f"want {self.tip} {CAPS} multi_ack_detailed", f"want {other}", "", *self.haves(self.second), "")
        self.assertEqual(told(self.server.understand(asked, 0).reply), [f"ACK {self.second} common", "NAK"])

    def test_version_2_answers_each_round(self) -> None:
        want = f"want {self.tip}"
        answer = self.server.ask(want, *self.haves(*self.mine))
        self.assertEqual((told(answer.reply), answer.recipe), (["acknowledgments", "NAK", ""], None))
        answer = self.server.ask(want, *self.haves(*self.mine, self.second))
        self.assertEqual(told(answer.reply), ["acknowledgments", f"ACK {self.second}", "ready", "", "packfile"])
        self.assertIsNotNone(answer.recipe)
        answer = self.server.ask(want, *self.haves(self.second), "done")
        self.assertEqual(told(answer.reply), ["packfile"])
        self.assertEqual(told(self.server.ask(want).reply), ["packfile"])

    def test_version_2_can_be_asked_for_common_commits_alone(self) -> None:
        answer = self.server.ask(*self.haves(*self.mine, self.second), "wait-for-done")
        self.assertEqual((told(answer.reply), answer.recipe), (["acknowledgments", f"ACK {self.second}", ""], None))
        answer = self.server.ask(f"want {self.tip}", *self.haves(self.second), "wait-for-done")
        self.assertIsNone(answer.recipe)

    def test_wanting_nothing_gets_nothing(self) -> None:
        for answer in (self.server.ask(), self.server.ask("done"), self.server.understand(b"0000", 0)):
            self.assertEqual((answer.reply, answer.recipe), (b"", None))

    def test_an_unknown_command_is_refused(self) -> None:
        for name in ("object-info", "push", "ls-refs2"):
            self.assertRaises(BadRequest, self.server.understand, command(name))


class Wanting(SynchronousTestCase):
    """``main`` has two commits; ``hidden`` was deployed and is in no branch any more."""

    def setUp(self) -> None:
        made = self.made = History()
        self.first = made.commit({("d", "f"): ("100644", 1)}, [])
        self.tip = made.commit({("d", "f"): ("100644", 2)}, [self.first])
        self.hidden = made.commit({("d", "f"): ("100644", 3)}, [self.first])
        self.tag = made.tag(made.tag(self.first))
        path = repository(Path(self.mktemp()))
        store(path, made, made.objects)
        self.server = Server(path, path / "target")
        refs = {"refs/heads/main": self.tip, "refs/tags/v": self.tag, f"refs/deploy/{self.hidden}": self.hidden}
        self.server.set_refs(refs, made)

    def ask(self, want: str, deployed: bool = False) -> str:
        """Both versions answer alike."""
        new = self.server.ask(f"want {want}", deployed=deployed)
        old = self.server.understand(lines(f"want {want} {CAPS}", "", "done"), 0, deployed)
        self.assertEqual(new.refusal, old.refusal)
        self.assertEqual(new.recipe is None, bool(new.refusal))
        if new.refusal:
            self.assertEqual(told(old.reply), [f"ERR {new.refusal}"])
            self.assertEqual(told(new.reply), [f"ERR {new.refusal}"])
        return new.refusal

    def test_whatever_the_refs_lead_to_may_be_had(self) -> None:
        for name in self.made.reachable([self.tip, self.tag]):
            self.assertEqual(self.ask(name), "")

    def test_nothing_else_may(self) -> None:
        secret = self.made.reachable([self.hidden]) - self.made.reachable([self.tip, self.tag])
        for name in [*secret, "0" * 40, "f" * 40]:
            self.assertEqual(self.ask(name), f"upload-pack: not our ref {name}")
        self.assertEqual(len(secret), 4)

    def test_a_drone_may_have_what_was_deployed(self) -> None:
        for name in self.made.reachable([self.hidden]):
            self.assertEqual(self.ask(name, deployed=True), "")
