"""Where history is cut, and what a reader hears of it."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import COMMIT
from tests.git.packs.histories import History, repository, store
from tests.git.serving.clients import Client, Server, lines, told

CAPS = "side-band-64k ofs-delta multi_ack_detailed deepen-relative"


def at(made: History, name: str, time: int) -> str:
    """The commit again, made at another time."""
    kind, content = made.objects.pop(name)
    made.commits.remove(name)
    content = content.replace(b"> 1700000000", b"> %d" % time)
    again = made.add(kind, content)
    made.commits.append(again)
    made.parents[again] = made.parents.pop(name)
    return again


class Cutting(SynchronousTestCase):
    """Six commits in a line, at the times 100 to 600, of which a merge of the fourth brings the ``side``, at 50."""

    def setUp(self) -> None:
        made = self.made = History()
        self.side = at(made, made.commit({("side",): ("100644", 9)}, []), 50)
        line = list[str]()
        for number in range(1, 7):
            parents = line[-1:] + [self.side] * (number == 4)
            line.append(at(made, made.commit({("f", "g"): ("100644", number)}, parents), 100 * number))
        self.line = line
        path = repository(Path(self.mktemp()))
        store(path, made, made.objects)
        self.server = Server(path, path / "target")
        self.server.set_refs({"refs/heads/main": line[-1], "refs/heads/old": line[2], "refs/tags/o": line[0]}, made)

    def cut(self, *arguments: str) -> tuple[set[str], set[str]]:
        """(shallow, unshallow) of both versions, which agree."""
        tip, answers = self.line[-1], []
        deepening = [argument for argument in arguments if argument != "deepen-relative"]
        caps = CAPS if "deepen-relative" in arguments else CAPS.removesuffix(" deepen-relative")
        new = told(self.server.ask(f"want {tip}", *arguments, "done").reply)
        self.assertEqual((new[0], new[-2:]), ("shallow-info", ["", "packfile"]))
        old = told(self.server.understand(lines(f"want {tip} {caps}", *deepening, ""), 0).reply)
        self.assertEqual(old[-1], "")
        for answer in (new, old):
            answers.append(
                tuple({line[len(word) :] for line in answer if line.startswith(word)} for word in ("shallow ", "unsh"))
            )
        self.assertEqual(*answers)
        return answers[0][0], {name.removeprefix("allow ") for name in answers[0][1]}

    def refusal(self, *arguments: str) -> str:
        return self.server.ask(f"want {self.line[-1]}", *arguments, "done").refusal

    def test_a_depth_counts_commits(self) -> None:
        self.assertEqual(self.cut("deepen 1"), ({self.line[5]}, set()))
        self.assertEqual(self.cut("deepen 2"), ({self.line[4]}, set()))
        self.assertEqual(self.cut("deepen 4"), ({self.line[2], self.side}, set()))
        self.assertEqual(self.cut("deepen 100"), (set(), set()))

    def test_a_reader_hears_only_what_changes(self) -> None:
        tip = f"shallow {self.line[5]}"
        self.assertEqual(self.cut("deepen 1", tip), (set(), set()))
        self.assertEqual(self.cut("deepen 2", tip), ({self.line[4]}, {self.line[5]}))
        self.assertEqual(self.cut("deepen 1", f"shallow {self.line[2]}"), ({self.line[5]}, set()))
        self.assertEqual(self.cut("deepen 1", "shallow " + "1" * 40), ({self.line[5]}, set()))

    def test_an_infinite_depth_opens_everything(self) -> None:
        self.assertEqual(self.cut("deepen 2147483647", f"shallow {self.line[2]}"), (set(), {self.line[2]}))

    def test_a_relative_depth_counts_from_where_the_reader_is(self) -> None:
        self.assertEqual(
            self.cut("deepen 1", "deepen-relative", f"shallow {self.line[4]}"), ({self.line[3]}, {self.line[4]})
        )

    def test_a_time_leaves_out_what_is_older(self) -> None:
        self.assertEqual(self.cut("deepen-since 500"), ({self.line[4]}, set()))
        self.assertEqual(self.cut("deepen-since 100"), ({self.line[3]}, set()))
        self.assertEqual(self.cut("deepen-since 1"), (set(), set()))
        self.assertIn("no commits selected", self.refusal("deepen-since 700"))

    def test_refs_leave_out_what_they_reach(self) -> None:
        for name in ("refs/heads/old", "old", "heads/old"):
            self.assertEqual(self.cut(f"deepen-not {name}"), ({self.line[3]}, set()))
        self.assertEqual(self.cut("deepen-not o", f"shallow {self.line[3]}"), ({self.line[1]}, {self.line[3]}))
        self.assertEqual(self.cut("deepen-not old", "deepen-since 550"), ({self.line[5]}, set()))
        self.assertIn("no commits selected", self.refusal("deepen-not main", "deepen-not o"))
        self.assertIn("ambiguous deepen-not: nothing", self.refusal("deepen-not nothing"))

    def test_nothing_is_said_of_what_is_only_behind_the_cut(self) -> None:
        """The merge is at the cut, so the other side of it does not come, though it is new enough."""
        late = at(self.made, self.made.commit({}, []), 1000)
        merge = at(self.made, self.made.commit({}, [self.line[0], late]), 1100)
        store(self.server.path, self.made, self.made.reachable([late, merge]))
        self.server.set_refs({"refs/heads/main": merge}, self.made)
        reply = told(self.server.ask(f"want {merge}", "deepen-since 900", "done").reply)
        self.assertEqual(reply, ["shallow-info", f"shallow {merge}", "", "packfile"])

    def test_a_reader_cannot_see_behind_a_commit_that_it_only_claims_to_have(self) -> None:
        before = self.made.commit({("secret",): ("100644", 77)}, [])
        hidden = self.made.commit({("secret",): ("100644", 78)}, [before])
        store(self.server.path, self.made, self.made.reachable([hidden]))
        for depth in (["deepen 2147483647"], ["deepen 1", "deepen-relative"]):
            self.assertEqual(self.cut(*depth, f"shallow {hidden}"), (set(), set()))
            client = Client(shallow={hidden})
            client.objects[hidden] = self.made.objects[hidden]
            came = client.fetch(self.server, [self.line[-1]], *depth)
            self.assertNotIn(before, came)

    def test_the_next_single_commit_is_what_differs_in_its_tree(self) -> None:
        """A drone has one commit without history, then another."""
        for old, new in ((3, 4), (4, 2), (0, 5)):
            client = Client()
            client.fetch(self.server, [self.line[old]], "deepen 1")
            self.assertEqual(len(client.objects), 4)
            came = client.fetch(self.server, [self.line[new]], "deepen 1")
            client.check([self.line[new], self.line[old]])
            self.assertEqual(sum(kind == COMMIT for kind, _ in came.values()), 1)
            self.assertLessEqual(len(came), 4)
