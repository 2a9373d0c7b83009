"""Which packs go out as they lie there, and which recipes are equal."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.git.kinds import BLOB, COMMIT, TREE
from deployd.git.problems import NotOurs
from deployd.git.serving.parcels import Parcel, prepare
from deployd.git.serving.recipes import Recipe
from tests.git.forge import WHO, object_id
from tests.git.packs.histories import Files, History, repository, store
from tests.git.packs.packed import read_pack
from tests.git.serving.clients import Client, Server


class Parcels(SynchronousTestCase):
    """Three commits in a line, the second with a tag, stored as a test wants."""

    def setUp(self) -> None:
        made = self.made = History()
        for number in range(3):
            made.commit({("d", "f"): ("100644", number), ("g",): ("100644", 9)}, made.commits[-1:])
        self.tag = made.tag(made.commits[1])
        self.path = repository(Path(self.mktemp()))
        self.server = Server(self.path, self.path / "target")
        self.server.set_refs({"refs/heads/main": made.commits[-1], "refs/tags/v": self.tag}, made)

    def store(self, *tips: str, but: set[str] | None = None) -> None:
        wanted = self.made.reachable(tips) - (but or set())
        store(self.path, self.made, [name for name in self.made.objects if name in wanted])

    def clone(self, *wants: str) -> tuple[Parcel, set[str]]:
        """What came, and how."""
        asked = self.server.ask(*(f"want {want}" for want in wants), "ofs-delta", "done")
        parcel, pack = self.server.parcel(asked)
        came = read_pack(pack)
        self.assertEqual(parcel.objects, len(came))
        return parcel, set(came)

    def test_a_pack_that_is_wanted_whole_is_sent_as_it_is(self) -> None:
        self.store(self.made.commits[-1], self.tag)
        parcel, came = self.clone(self.made.commits[-1], self.tag)
        self.assertEqual(came, set(self.made.objects))
        [piece] = parcel.pieces
        self.assertEqual(piece.path, str(next(self.path.glob("objects/pack/*.pack"))))
        self.assertEqual(parcel.remark, f"Total {len(came)} objects, {parcel.size} bytes")

    def test_several_packs_are_sent_one_after_the_other(self) -> None:
        first = self.made.reachable([self.made.commits[0]])
        self.store(self.made.commits[0])
        self.store(self.made.commits[-1], self.tag, but=first)
        for _ in range(2):
            parcel, came = self.clone(self.made.commits[-1], self.tag)
            self.assertEqual(came, set(self.made.objects))
            self.assertEqual([bool(piece.path) for piece in parcel.pieces], [False, True, True, False])

    def test_what_is_in_two_packs_is_sent_once(self) -> None:
        self.store(self.made.commits[0])
        self.store(self.made.commits[-1], self.tag)
        parcel, came = self.clone(self.made.commits[-1], self.tag)
        self.assertEqual((came, parcel.pieces), (set(self.made.objects), ()))

    def test_what_nobody_wants_stays(self) -> None:
        gone = self.made.commit({("gone",): ("100644", 50)}, [])
        self.store(*self.made.commits, self.tag)
        parcel, came = self.clone(self.made.commits[-2], self.tag)
        self.assertEqual((came & self.made.reachable([gone]), parcel.pieces), (set(), ()))

    def test_a_reader_that_knows_no_distances_gets_none(self) -> None:
        self.store(self.made.commits[-1], self.tag)
        asked = self.server.ask(f"want {self.made.commits[-1]}", f"want {self.tag}", "done")
        parcel, pack = self.server.parcel(asked)
        self.assertEqual((parcel.pieces, read_pack(pack).keys()), ((), self.made.objects.keys()))

    def test_a_thin_pack_has_deltas_against_what_the_reader_has(self) -> None:
        large: Files = {(f"{number}",): ("100644", number) for number in range(60)}
        old = self.made.commit(large, [self.made.commits[-1]])
        new = self.made.commit({**large, ("z",): ("100644", 60)}, [old])
        self.store(*self.made.commits)
        self.server.set_refs({"refs/heads/main": new}, self.made)
        sizes = []
        for words in (["ofs-delta"], ["ofs-delta", "thin-pack"]):
            asked = self.server.ask(f"want {new}", f"have {old}", *words, "done")
            _, pack = self.server.parcel(asked)
            sizes.append(len(pack))
            had = {name: self.made.objects[name] for name in self.made.reachable([old])}
            came = read_pack(pack, had)
            self.assertEqual(came.keys(), self.made.reachable([new]) - self.made.reachable([old]))
        self.assertLess(sizes[1], sizes[0] - 1000)

    def test_what_makes_no_difference_to_a_pack_makes_none_to_its_recipe(self) -> None:
        first, second, third = self.made.commits
        self.store(third, self.tag)

        def key(*arguments: str) -> str:
            recipe = self.server.ask(*arguments, "done").recipe
            assert recipe is not None
            return recipe.key

        self.assertEqual(
            key(f"want {third}", f"have {second}"), key(f"want {third}", f"have {second}", f"have {first}")
        )
        self.assertEqual(
            key(f"want {third}", f"have {second}"), key(f"want {third}", f"want {second}", f"have {second}")
        )
        self.assertEqual(key(f"want {third}", "include-tag"), key("include-tag", f"want {third}", f"want {self.tag}"))
        different = [
            [],
            ["deepen 1"],
            ["ofs-delta"],
            ["include-tag"],
            [f"have {first}"],
            [f"have {first}", "thin-pack"],
        ]
        self.assertEqual(len({key(f"want {third}", *words) for words in different}), len(different))

    def test_what_is_gone_by_then_is_not_made(self) -> None:
        self.store(*self.made.commits)
        for recipe in (Recipe(("1" * 40,)), Recipe((), others=("1" * 40,))):
            with self.assertRaises(NotOurs):
                prepare(self.server.objects, recipe, self.server.target, lambda _: None)

    def test_an_old_client_is_up_to_date_with_nothing(self) -> None:
        """It wants what it has: the pack is empty."""
        self.store(*self.made.commits)
        client = Client({name: self.made.objects[name] for name in self.made.reachable(self.made.commits)})
        self.assertEqual(client.fetch(self.server, self.made.commits[-1:], version=0), {})

    def filtered(self, spec: str, *wants: str) -> set[str]:
        asked = self.server.ask(*(f"want {want}" for want in wants), f"filter {spec}", "ofs-delta", "done")
        return set(read_pack(self.server.parcel(asked)[1]))

    def test_a_reader_leaves_out_what_it_will_ask_for_later(self) -> None:
        large = self.made.add(BLOB, b"x" * 2000)
        tree = self.made.add(
            TREE, b"100644 large\0" + bytes.fromhex(large) + b"100644 small\0" + bytes.fromhex(self.blob(9))
        )
        tip = self.made.add(COMMIT, f"tree {tree}\nauthor {WHO.decode()}\ncommitter {WHO.decode()}\n\nm".encode())
        store(self.path, self.made, self.made.objects)
        self.server.set_refs({"refs/heads/main": tip}, self.made)
        for spec, expected in (
            ("blob:none", {tip, tree}),
            ("blob:limit=0", {tip, tree}),
            ("blob:limit=1k", {tip, tree, self.blob(9)}),
            ("blob:limit=2000", {tip, tree, self.blob(9)}),
            ("blob:limit=2001", {tip, tree, self.blob(9), large}),
            ("tree:0", {tip}),
        ):
            self.assertEqual(self.filtered(spec, tip), expected)
        self.assertEqual(self.filtered("blob:none", large, self.blob(9)), {large, self.blob(9)})
        self.assertEqual(self.filtered("tree:0", tree), {tree})
        self.assertEqual(self.filtered("blob:none", tree), {tree})

    def test_a_filter_that_is_not_to_be_had_is_refused(self) -> None:
        self.store(*self.made.commits)
        for spec in ("tree:1", "blob:limit=x", "sparse:oid=x", "combine:blob:none+tree:0"):
            asked = self.server.ask(f"want {self.made.commits[-1]}", f"filter {spec}", "done")
            self.assertEqual((asked.refusal, asked.recipe), (f"filter '{spec}' not supported", None))

    def blob(self, number: int) -> str:
        return object_id(BLOB, b"blob %d" % number)
