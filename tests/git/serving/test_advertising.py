"""What git reads at ``info/refs``, and from ``ls-refs``."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import COMMIT
from deployd.git.problems import BadRequest
from deployd.git.refs import Refs
from deployd.git.serving.advertising import RECEIVE, UPLOAD, advertise
from deployd.git.serving.listing import RefQuery, list_refs
from deployd.git.serving.offers import Offer, Offers
from tests.git.packs.histories import History, repository
from tests.git.serving.clients import Server, command, told

ONE, TWO, TAG, SUB = (digit * 40 for digit in "1234")
VALUES = {
    b"refs/heads/main": ONE.encode(),
    b"refs/heads/x": TWO.encode(),
    b"refs/tags/v": TAG.encode(),
    b"refs/deploy/" + SUB.encode(): SUB.encode(),
    b"refs/notes/commits": SUB.encode(),
}
REFS = Refs(VALUES, {b"refs/tags/v": TWO.encode()}, b"refs/heads/main")
OFFER = Offer.of(REFS, False)


def words(*prefixes: str) -> list[str]:
    return [line.split(" ")[1] for line in asked("peel", *(f"ref-prefix {prefix}" for prefix in prefixes))]


def asked(*arguments: str, offer: Offer = OFFER) -> list[str]:
    return told(list_refs(offer, RefQuery.parse(argument.encode() for argument in arguments)))[:-1]


class Advertising(SynchronousTestCase):
    def test_a_reader_sees_branches_tags_what_they_stand_for_and_heads_branch(self) -> None:
        greeting, flush, first, *rest = told(advertise(OFFER, UPLOAD, 0))
        self.assertEqual((greeting, flush), ("# service=git-upload-pack", ""))
        ref, _, capabilities = first.partition("\0")
        self.assertEqual(ref, f"{ONE} HEAD")
        expected = [
            f"{ONE} refs/heads/main",
            f"{TWO} refs/heads/x",
            f"{TAG} refs/tags/v",
            f"{TWO} refs/tags/v^{{}}",
            "",
        ]
        self.assertEqual(rest, expected)
        self.assertIn("symref=HEAD:refs/heads/main", capabilities.split())
        self.assertEqual(capabilities.count("symref="), 1)
        self.assertLessEqual(
            {"multi_ack_detailed", "no-done", "deepen-since", "deepen-not", "allow-reachable-sha1-in-want"},
            set(capabilities.split()),
        )

    def test_a_pusher_sees_no_head_and_nothing_that_tags_stand_for(self) -> None:
        _, _, first, *rest = told(advertise(OFFER, RECEIVE, 2))
        self.assertEqual(first.partition("\0")[0], f"{ONE} refs/heads/main")
        self.assertEqual(rest, [f"{TWO} refs/heads/x", f"{TAG} refs/tags/v", ""])

    def test_only_drones_see_what_was_deployed(self) -> None:
        name = f"refs/deploy/{SUB}"
        self.assertIn(f"{SUB} {name}", told(advertise(Offer.of(REFS, True), UPLOAD, 0)))
        self.assertNotIn(name.encode(), advertise(OFFER, UPLOAD, 0))
        self.assertNotIn(b"refs/notes", advertise(Offer.of(REFS, True), UPLOAD, 0))

    def test_an_empty_repository_has_capabilities_only(self) -> None:
        for offer in (None, Offer.of(Refs(), False)):
            for service in (UPLOAD, RECEIVE):
                line = told(advertise(offer, service, 0))[2]
                self.assertTrue(line.startswith("0" * 40 + " capabilities^{}\0"))
                self.assertNotIn("symref", line)

    def test_version_1_is_version_0_that_says_so(self) -> None:
        zero, one = told(advertise(OFFER, UPLOAD, 0)), told(advertise(OFFER, UPLOAD, 1))
        self.assertEqual(one, [*zero[:2], "version 1", *zero[2:]])

    def test_version_2_tells_no_refs(self) -> None:
        lines = told(advertise(OFFER, UPLOAD, 2))
        self.assertEqual(lines[0], "version 2")
        self.assertLessEqual(
            {"ls-refs=unborn", "fetch=shallow wait-for-done filter", "object-format=sha1", ""}, set(lines)
        )
        self.assertEqual(advertise(OFFER, UPLOAD, 7), advertise(None, UPLOAD, 2))


class Listing(SynchronousTestCase):
    def test_names_begin_as_the_reader_says(self) -> None:
        self.assertEqual(words(), ["HEAD", "refs/heads/main", "refs/heads/x", "refs/tags/v"])
        self.assertEqual(words("refs/tags/", "refs/heads/m", "refs/heads/main"), ["refs/heads/main", "refs/tags/v"])
        self.assertEqual(words("HEAD", "nothing"), ["HEAD"])
        self.assertEqual(words("refs/deploy/", "refs/n", "refs/zz"), [])
        self.assertEqual(len(words("")), 4)
        self.assertEqual(len(words(*(f"refs/heads/{number}" for number in range(70_000)))), 4)

    def test_what_tags_stand_for_and_heads_branch_are_told_on_request(self) -> None:
        self.assertIn(f"{TAG} refs/tags/v peeled:{TWO}", asked("peel"))
        self.assertIn(f"{TAG} refs/tags/v", asked("symrefs"))
        self.assertEqual(asked("symrefs")[0], f"{ONE} HEAD symref-target:refs/heads/main")

    def test_a_head_without_a_branch_is_unborn(self) -> None:
        empty = Offer.of(Refs(head=b"refs/heads/main"), False)
        self.assertEqual(asked("symrefs", "unborn", offer=empty), ["unborn HEAD symref-target:refs/heads/main"])
        self.assertEqual(asked("symrefs", offer=empty), [])

    def test_another_argument_is_refused(self) -> None:
        with self.assertRaises(BadRequest):
            asked("peel", "frob")


class Offering(SynchronousTestCase):
    """An offer is the same object until a ref moves; then it is another, whoever moved the ref."""

    def setUp(self) -> None:
        self.path = repository(Path(self.mktemp()))
        self.made = History()
        self.one, self.two = (self.made.commit({}, []) for _ in range(2))
        self.server = Server(self.path, self.path / "target")
        self.server.set_refs({"refs/heads/main": self.one}, self.made)

    def test_answers_are_made_once_for_all_until_a_ref_moves(self) -> None:
        offers = Offers(self.path)
        first = offers.now(False)
        self.assertIs(offers.now(False), first)
        self.assertIs(advertise(first, UPLOAD, 0)[-1:], advertise(first, UPLOAD, 0)[-1:])
        self.server.set_refs({"refs/heads/main": self.two}, self.made)
        self.assertEqual(offers.now(False).values[b"refs/heads/main"], self.two.encode())
        self.assertIsNot(offers.now(True), offers.now(False))

    def test_a_loose_ref_and_a_new_head_are_seen(self) -> None:
        offers = Offers(self.path)
        offers.now(False)
        (self.path / "refs/heads").mkdir(parents=True)
        (self.path / "refs/heads/loose").write_text(self.two + "\n")
        self.assertEqual(offers.now(False).values[b"refs/heads/loose"], self.two.encode())
        (self.path / "HEAD").write_text("ref: refs/heads/loose\n")
        self.assertEqual(offers.now(False).values[b"HEAD"], self.two.encode())
        (self.path / "refs/heads/loose").unlink()
        self.assertNotIn(b"HEAD", offers.now(False).values)
        self.assertEqual(offers.now(False).head, b"refs/heads/loose")

    def test_few_answers_are_kept(self) -> None:
        offer = Offers(self.path).now(False)
        made = list[int]()

        def make(number: int) -> bytes:
            made.append(number)
            return b"%d" % number

        for number in (*range(20), 19, 0):
            self.assertEqual(offer.answer(number, lambda number=number: make(number)), b"%d" % number)  # type: ignore[misc]
        self.assertEqual(made, [*range(20), 0])

    def test_ls_refs_over_the_wire(self) -> None:
        self.assertEqual(self.made.objects[self.one][0], COMMIT)
        answer = self.server.understand(command("ls-refs", "ref-prefix refs/heads/"))
        self.assertEqual(told(answer.reply), [f"{self.one} refs/heads/main", ""])
        self.assertIsNone(answer.recipe)
