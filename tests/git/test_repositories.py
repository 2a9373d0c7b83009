"""What the hub asks of its repositories."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import Refused, UnknownApp, UnknownCommit
from deployd.git.problems import BadRefs
from deployd.git.refs import DEPLOY, read_refs
from deployd.git.repositories import Repositories
from deployd.model.invalid import Invalid
from tests.git import forge
from tests.git.forge import ZERO, Hub, Objects


class NamingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.repositories = Repositories(Path(self.mktemp()))
        self.repositories.clean()

    def test_apps_are_listed_by_name_nested_ones_too(self) -> None:
        """A team's app and an app called as the team are different."""
        for app in ("webapp", "team/webapp", "team", "team/sub/x"):
            self.assertFalse(self.repositories.exists(app))
            self.assertTrue(self.repositories.create(app))
            self.assertFalse(self.repositories.create(app))
        self.assertEqual(self.repositories.apps(), ["team", "team/sub/x", "team/webapp", "webapp"])

    def test_names_that_lead_elsewhere_are_none(self) -> None:
        """No path is made of them."""
        for name in ("../x", "-rf", "a//b", "x.git/..", "", "/etc", "a\0b", "x" * 300, ".git", "a/.."):
            for ask in (self.repositories.path, self.repositories.exists, self.repositories.create):
                with self.assertRaises(Invalid):
                    ask(name)

    def test_questions_about_an_unknown_app_are_refused(self) -> None:
        """In one sentence."""
        with self.assertRaisesRegex(UnknownApp, "no app 'webapp'"):
            self.repositories.resolve("webapp", "HEAD")
        for ask in (self.repositories.head, lambda app: self.repositories.keep(app, "1" * 40)):
            with self.assertRaises(UnknownApp):
                ask("webapp")

    def test_an_unused_creation_can_be_taken_back(self) -> None:
        """With the directories above it, but never an app with refs."""
        self.repositories.create("team/webapp")
        self.repositories.discard_empty("team/webapp")
        self.assertEqual(list(self.repositories.root.iterdir()), [])
        hub = Hub(Path(self.mktemp()))
        hub.pushed()
        hub.repositories.discard_empty("webapp")
        self.assertTrue(hub.repositories.exists("webapp"))


class ResolvingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.ask = self.hub.repositories

    def test_all_names_of_a_commit_lead_to_it(self) -> None:
        """HEAD, branch, full ref, id, beginning of an id, and an annotated tag of a tag."""
        objects = Objects()
        tip = objects.commit()
        tag = objects.tag(objects.tag(tip), "tag")
        self.hub.push([("refs/heads/master", ZERO, tip), ("refs/tags/v1", ZERO, tag)], objects.pack())
        for text in ("HEAD", "master", "refs/heads/master", tip, tip[:4], tip[:12].upper(), "v1", "refs/tags/v1"):
            self.assertEqual(self.ask.resolve("webapp", text), tip, text)
        self.assertEqual(read_refs(self.hub.path).peeled, {b"refs/tags/v1": tip.encode()})

    def test_what_names_no_commit_is_unknown(self) -> None:
        """A blob's id, a tag of a tree, another app's commit, a hidden ref, odd text, too short a beginning."""
        objects = Objects()
        tip = objects.commit()
        self.assertEqual(self.hub.repositories.head("webapp"), None)
        tree_tag = objects.tag(objects.tree(), "tree")
        self.hub.push([("refs/heads/master", ZERO, tip), ("refs/tags/t", ZERO, tree_tag)], objects.pack())
        self.ask.keep("webapp", tip)
        odd = ["", "\0", "..", "-rf", "x" * 5000, "refs/deploy/" + tip, "deploy/" + tip, "t", "1" * 40, tip[:3], "ü"]
        for text in [*odd, objects.blob(), "HEAD~1", "master:file", "\udcff"]:
            with self.subTest(text=text[:50]), self.assertRaises(UnknownCommit):
                self.ask.resolve("webapp", text)

    def test_an_ambiguous_beginning_says_so(self) -> None:
        """Two commits that begin alike; a tree that does is no rival."""
        seen: dict[str, str] = {}
        number = 0
        while True:
            tip = Objects().commit(message=b"%d" % number)
            if tip[:4] in seen:
                break
            seen[tip[:4]], number = str(number), number + 1
        objects = Objects()
        first = objects.commit(message=seen[tip[:4]].encode())
        objects.commit(message=b"%d" % number)
        self.hub.push([("refs/heads/a", ZERO, first), ("refs/heads/b", ZERO, tip)], objects.pack())
        with self.assertRaisesRegex(UnknownCommit, "2 commits of webapp begin with"):
            self.ask.resolve("webapp", tip[:4])
        self.assertEqual(self.ask.resolve("webapp", tip[:20]), tip)

    def test_damaged_refs_are_not_taken_for_fewer(self) -> None:
        """The next change would make that true."""
        tip = self.hub.pushed()
        path = self.hub.path / "packed-refs"
        whole = path.read_bytes()
        for damaged in (
            b"\0" * 40,
            whole[:-1],
            whole[:-30],
            whole.replace(b"\n", b"\n\n"),
            b"x" + whole,
            whole + b"^1\n",
        ):
            path.write_bytes(damaged)
            with self.assertRaises(BadRefs):
                self.ask.resolve("webapp", tip)
        for sound in (whole, whole + b"# a remark\n"):
            path.write_bytes(sound)
            self.assertEqual(self.ask.resolve("webapp", "master"), tip)

    def test_loose_objects_and_refs_that_git_made_are_seen(self) -> None:
        """A person may work in the repository with git itself."""
        tip = self.hub.pushed()
        loose = self.hub.path / "refs/heads/by-hand"
        loose.write_text(tip + "\n")
        self.assertEqual(self.ask.resolve("webapp", "by-hand"), tip)
        self.hub.push([("refs/heads/b", ZERO, tip)], forge.pack([]))
        self.assertFalse(loose.exists())
        self.assertEqual(self.ask.resolve("webapp", "by-hand"), tip)


class KeepingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = Hub(Path(self.mktemp()))
        self.ask = self.hub.repositories

    def test_a_kept_commit_has_a_hidden_ref(self) -> None:
        """Twice is as good as once."""
        tip = self.hub.pushed()
        self.ask.keep("webapp", tip)
        self.ask.keep("webapp", tip)
        self.assertIn(DEPLOY + tip.encode(), read_refs(self.hub.path).values)
        self.assertNotIn(DEPLOY + tip.encode(), read_refs(self.hub.path).shown(deployed=False))
        self.assertIn(DEPLOY + tip.encode(), read_refs(self.hub.path).shown(deployed=True))

    def test_what_is_no_commit_here_is_not_kept(self) -> None:
        """A blob, nothing, no id."""
        self.hub.pushed()
        for commit in (forge.object_id(3, b"hello\n"), "1" * 40, "HEAD", ""):
            with self.assertRaises(UnknownCommit):
                self.ask.keep("webapp", commit)

    def test_files_are_read_within_a_limit(self) -> None:
        """Absent is None; too long, a directory or a link is refused."""
        objects = Objects()
        inner = objects.tree(("100644", b"x", objects.blob(b"deep")))
        tree = objects.tree(
            ("120000", b"link", objects.blob(b"Procfile")),
            ("100755", b"run", objects.blob(b"x" * 100)),
            ("40000", b"src", inner),
        )
        tip = objects.commit(tree)
        self.hub.push([("refs/heads/master", ZERO, tip)], objects.pack())
        self.assertEqual(self.ask.read_file("webapp", tip, "src/x", 4), b"deep")
        self.assertEqual(self.ask.read_file("webapp", tip, "run", 100), b"x" * 100)
        for name in ("nothing", "src/nothing", "run/x", "", "/", "link/x"):
            self.assertIsNone(self.ask.read_file("webapp", tip, name, 100))
        for name in ("run", "link", "src"):
            with self.assertRaises(Refused):
                self.ask.read_file("webapp", tip, name, 99)

    def test_clean_removes_what_a_kill_left(self) -> None:
        """Quarantines, half-made repositories, locks; and nothing else."""
        tip = self.hub.pushed()
        before = self.hub.files()
        (self.hub.root / ".new-abc").mkdir()
        quarantine = self.hub.path / "objects/tmp_objdir-incoming-x"
        quarantine.mkdir()
        (quarantine / "incoming.pack").write_bytes(b"PACK")
        (self.hub.path / "packed-refs.lock").write_bytes(b"half")
        self.hub.repositories.clean()
        self.assertEqual(self.hub.files(), before)
        self.assertEqual([path.name for path in self.hub.root.iterdir()], ["webapp.git"])
        self.assertEqual(self.ask.head("webapp"), tip)

    def test_a_pack_whose_index_is_lost_gets_it_again(self) -> None:
        """From its chart; and one that has no chart either may be all there is of something, and stays."""
        tip = self.hub.pushed()
        (self.hub.path / "objects/pack/pack-1.pack").write_bytes(b"PACK")
        (index,) = (self.hub.path / "objects/pack").glob("*.idx")
        before, content = self.hub.files(), index.read_bytes()
        index.unlink()
        self.hub.repositories.clean()
        self.assertEqual((self.hub.files(), index.read_bytes()), (before, content))
        self.assertEqual(self.ask.resolve("webapp", tip), tip)

    def test_no_descriptor_is_left_open(self) -> None:
        """However often the repository is asked, and however pushes end."""
        tip = self.hub.pushed()
        count = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(10):
            self.ask.resolve("webapp", tip[:8])
            self.ask.read_file("webapp", tip, "file.txt", 100)
            self.hub.push([("refs/heads/b", ZERO, "1" * 40)], forge.pack([]))
            self.hub.push([("refs/heads/b", ZERO, "1" * 40)], b"junk")
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), count)
