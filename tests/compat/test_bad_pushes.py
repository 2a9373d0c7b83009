"""Every push that should not be, over HTTP to the real service: each gets its answer, and leaves nothing."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_twisted
from attrs import define
from twisted.internet.defer import ensureDeferred, gatherResults

from deployd.git.kinds import BLOB, COMMIT, TREE
from deployd.git.limits import GitLimits
from deployd.git.packs.consolidating import RUNNING
from deployd.git.refs import read_refs
from tests.compat.service import Git, Service
from tests.compat.test_http import RECEIVE, ask, post
from tests.git import forge
from tests.git.forge import WHO, ZERO, Objects

MAIN = "refs/heads/main"
NOWHERE = "1" * 40
LIMITS = GitLimits(
    pack_bytes=200_000,
    objects=50,
    object_bytes=50_000,
    meta_bytes=20_000,
    inflated_bytes=400_000,
    delta_depth=20,
    refs=5,
)


@define
class There:
    """What the app has: ``main`` at ``tip``, whose parent is ``first``, and a branch ``side/way``."""

    first: str
    tip: str

    def child(self, objects: Objects, tree: str | None = None) -> str:
        """A good commit on top of ``main``."""
        return objects.commit(tree, self.tip)


def moved(there: There, objects: Objects, tip: str) -> bytes:
    """A push of ``tip`` to ``main``."""
    return forge.push([(MAIN, there.tip, tip)], objects.pack())


def with_pack(change: Callable[[bytes], bytes]) -> Callable[[There], bytes]:
    """A good push whose pack is changed."""

    def body(there: There) -> bytes:
        objects = Objects()
        return forge.push([(MAIN, there.tip, there.child(objects))], change(objects.pack()))

    return body


def with_entries(*more: bytes, count: int | None = None) -> Callable[[There], bytes]:
    """A good push with some entries more in its pack."""

    def body(there: There) -> bytes:
        objects = Objects()
        tip = there.child(objects)
        return forge.push([(MAIN, there.tip, tip)], forge.pack([*objects.entries, *more], count))

    return body


def with_tree(*items: tuple[str, bytes]) -> Callable[[There], bytes]:
    """A push of a commit that has these entries, by mode and name."""

    def body(there: There) -> bytes:
        objects = Objects()
        blob, empty = objects.blob(), objects.tree()
        kinds = {"40000": empty, "160000": NOWHERE}
        return moved(
            there, objects, there.child(objects, objects.tree(*((m, n, kinds.get(m, blob)) for m, n in items)))
        )

    return body


def with_object(kind: int, content: bytes) -> Callable[[There], bytes]:
    """A push of one object as a tag's value."""
    return lambda there: forge.push(
        [("refs/tags/x", ZERO, forge.object_id(kind, content))], forge.pack([forge.whole(kind, content)])
    )


def to_ref(name: str | bytes) -> Callable[[There], bytes]:
    """A push of what is there to a new ref."""
    return lambda there: forge.push([(name, ZERO, there.tip)], forge.pack([]))


def commit_of(*, tree: str | None = None, parents: tuple[str, ...] = ()) -> Callable[[There], bytes]:
    """A push of a commit with a tree or parents that are not there."""

    def body(there: There) -> bytes:
        objects = Objects()
        return moved(there, objects, objects.commit(tree, there.tip, *parents))

    return body


def rewritten(there: There) -> bytes:
    objects = Objects()
    return moved(there, objects, objects.commit(None, there.first, message=b"another"))


def wrong_kind(there: There) -> bytes:
    objects = Objects()
    return moved(there, objects, objects.blob())


def chain(there: There) -> bytes:
    content, entries = b"base", [forge.whole(BLOB, b"base")]
    for number in range(21):
        entries.append(forge.ofs_delta(len(entries[-1]), forge.append_delta(content, b"%d" % number)))
        content += b"%d" % number
    return with_entries(*entries)(there)


def many_refs(there: There) -> bytes:
    return forge.push([(f"refs/tags/t{number}", ZERO, there.tip) for number in range(5)], forge.pack([]))


X = b"x" * 100
BLOB_X = forge.whole(BLOB, X)
ADD = forge.append_delta(X, b"more")
LONG = forge.varint(100) + forge.varint(1 << 30) + b"\xd0\x64" * 100
LYING = forge.varint(100) + forge.varint(10) + b"\x90\x64" * 1000
ZEROS = forge.entry_header(BLOB, 1 << 30) + zlib.compress(bytes(1 << 20))
COMMIT_X = b"tree " + NOWHERE.encode() + b"\n"

# What is wrong: the body, and a part of the answer.
REFUSED: dict[str, tuple[Callable[[There], bytes], str]] = {
    "a wrong old value": (
        lambda there: forge.push([(MAIN, there.first, there.tip)], forge.pack([])),
        "moved meanwhile",
    ),
    "creating what is there": (to_ref(MAIN), "there already"),
    "moving what is not there": (
        lambda there: forge.push([("refs/heads/no", there.first, there.tip)], forge.pack([])),
        "not there",
    ),
    "deleting what is not there": (lambda there: forge.push([("refs/heads/no", there.first, ZERO)]), "not there"),
    "a tip that does not exist": (
        lambda there: forge.push([(MAIN, there.tip, NOWHERE)], forge.pack([])),
        "was not sent",
    ),
    "a commit without its tree": (commit_of(tree=NOWHERE), f"tree {NOWHERE} is missing"),
    "a commit without a parent": (commit_of(parents=("2" * 40,)), f"commit {'2' * 40} is missing"),
    "a branch on a blob": (wrong_kind, "must point at a commit"),
    "history rewritten": (rewritten, "non-fast-forward"),
    "the default branch deleted": (lambda there: forge.push([(MAIN, there.tip, ZERO)]), "cannot be deleted"),
    "a ref twice": (lambda there: forge.push([(MAIN, there.tip, there.first)] * 2, forge.pack([])), "named twice"),
    "too many refs": (many_refs, "at most 5 refs"),
    "..": (with_tree(("40000", b"..")), "leads out"),
    ".": (with_tree(("40000", b".")), "leads out"),
    ".git": (with_tree(("40000", b".git")), "taken for .git"),
    ".GIT": (with_tree(("40000", b".GIT")), "taken for .git"),
    "git~1": (with_tree(("40000", b"git~1")), "taken for .git"),
    ".git with a folded letter": (with_tree(("40000", ".g\u200cit".encode())), "taken for .git"),
    ".git behind a backslash": (with_tree(("40000", b"a\\.git")), "taken for .git"),
    "a slash in a name": (with_tree(("100644", b"a/b")), "'/' or NUL"),
    "an absolute name": (with_tree(("100644", b"/etc")), "'/' or NUL"),
    "no name": (with_tree(("100644", b"")), "is empty"),
    "a name of 300 bytes": (with_tree(("100644", b"n" * 300)), "more than 255 bytes"),
    "a name twice": (with_tree(("100644", b"a"), ("100644", b"a")), "not in order"),
    "a name twice, as a file and a directory": (
        with_tree(("100644", b"a"), ("100644", b"a-"), ("40000", b"a")),
        "same name twice",
    ),
    "names out of order": (with_tree(("100644", b"b"), ("100644", b"a")), "not in order"),
    "an odd mode": (with_tree(("104755", b"a")), "unknown mode"),
    ".gitmodules as a link": (with_tree(("120000", b".gitmodules")), "that of a link"),
    "a tree that is cut": (with_object(TREE, b"100644 a\0short"), "malformed"),
    "a tree that is cut at a name": (with_object(TREE, b"100644 a\0" + X[:20] + b"100644 b\0"), "malformed"),
    "a commit without an author": (with_object(COMMIT, COMMIT_X + b"\nm"), "malformed"),
    "a commit of no time": (with_object(COMMIT, COMMIT_X + b"author A <a> x\ncommitter A <a> x\n\nm"), "malformed"),
    "a commit with a NUL in its head": (with_object(COMMIT, COMMIT_X + b"author \0 " + WHO + b"\n\nm"), "malformed"),
    "a tag of nothing": (with_object(4, b"object x"), "malformed"),
    "no pack": (with_pack(lambda pack: b""), "the pack is missing"),
    "a pack's first bytes": (with_pack(lambda pack: pack[:7]), "cut short"),
    "half a pack": (with_pack(lambda pack: pack[: len(pack) // 2]), "damaged or cut short"),
    "a pack without its end": (with_pack(lambda pack: pack[:-1]), "damaged or cut short"),
    "a wrong checksum": (with_pack(lambda pack: pack[:-1] + bytes([pack[-1] ^ 1])), "checksum is wrong"),
    "junk after the pack": (with_pack(lambda pack: pack + b"junk"), "checksum is wrong"),
    "junk in the pack": (with_entries(b"\x30junk", count=4), "damaged"),
    "no pack at all": (with_pack(lambda pack: b"KCAP" + pack[4:]), "not a pack"),
    "a pack of another version": (with_pack(lambda pack: pack[:4] + b"\0\0\0\x09" + pack[8:]), "not a pack"),
    "more objects than there are": (with_entries(count=9), "the pack ends"),
    "fewer objects than there are": (with_entries(count=1), "goes on after"),
    "too many objects": (with_entries(count=51), "the limit is 50"),
    "an object of unknown kind": (with_entries(forge.whole(5, X)), "unknown kind"),
    "an object twice": (with_entries(BLOB_X, BLOB_X), "twice"),
    "an object larger than it says": (with_entries(forge.whole(BLOB, X, 99)), "larger than it says"),
    "an object smaller than it says": (with_entries(forge.whole(BLOB, X, 101)), "smaller than it says"),
    "a size that is none": (with_entries(b"\xff" * 30), "impossible size"),
    "deflate that is none": (with_entries(BLOB_X[:2] + b"\xff" * 30), "damaged"),
    "a base that is not there": (with_entries(forge.ref_delta(NOWHERE, ADD)), "neither in it nor here"),
    "a base before the pack": (with_entries(forge.ofs_delta(9999, ADD)), "no object begins"),
    "a base inside an entry": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X) - 1, ADD)), "no object begins"),
    "a delta on itself": (with_entries(forge.ofs_delta(0, ADD)), "no object begins"),
    "deltas in a circle": (
        with_entries(forge.ref_delta("5" * 40, ADD), forge.ref_delta("5" * 40, ADD)),
        "neither in it",
    ),
    "a delta of another base": (
        with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), forge.append_delta(b"abc", b"d"))),
        "does not fit",
    ),
    "a delta that makes more than it says": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), LYING)), "does not fit"),
    "a delta of nothing": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), b"")), "too short"),
    "a delta that makes nothing": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), b"\x64\0")), "too short"),
    "a delta without sizes": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), b"\xff" * 9)), "no sizes"),
    "a chain of deltas without end": (chain, "more than 20 deltas"),
    "a zip bomb": (with_entries(ZEROS), f"{1 << 30} bytes; the limit is 50000"),
    "a delta bomb": (with_entries(BLOB_X, forge.ofs_delta(len(BLOB_X), LONG)), f"makes {1 << 30} bytes"),
    "a tree without end": (with_object(TREE, bytes(30_000)), "the limit is 20000"),
    "blobs without end": (
        with_entries(*(forge.whole(BLOB, b"%09d" % number + bytes(45_000)) for number in range(9))),
        "inflates to more than 400000",
    ),
    "HEAD": (to_ref("HEAD"), "only branches and tags"),
    "config": (to_ref("config"), "only branches and tags"),
    "a ref of the hub": (to_ref("refs/deploy/" + NOWHERE), "only branches and tags"),
    "a ref that leads out": (to_ref("refs/heads/../../x"), "funny refname"),
    "a ref with a space": (to_ref("refs/heads/a b"), "funny refname"),
    "a ref with a newline": (to_ref("refs/heads/a\nb"), "funny refname"),
    "a ref called lock": (to_ref("refs/heads/a.lock"), "funny refname"),
    "a ref that is not UTF-8": (to_ref(b"refs/heads/\xff\xfe"), "not UTF-8"),
    "a ref of 300 bytes": (to_ref("refs/heads/" + "n" * 300), "too long"),
    "a ref of 4,000 bytes, nested": (to_ref("refs/heads/" + "n/" * 2000 + "n"), "too long"),
    "a ref of 60,000 bytes": (to_ref("refs/heads/" + "n" * 60_000), "too long"),
    "a ref inside another": (to_ref(MAIN + "/sub"), "is in the way"),
    "a ref around another": (to_ref("refs/heads/side"), "is in the way"),
}

# No push at all: a 400 and one sentence.
NO_PUSH: dict[str, tuple[bytes, str, str]] = {
    "garbage": (b"garbage", "", "pkt-line"),
    "a line that is cut": (b"0010abc", "", "middle of a line"),
    "an impossible length": (b"0003", "", "pkt-line"),
    "bytes without meaning": (bytes(range(256)) * 4, "", "pkt-line"),
    "a line that is no command": (forge.pktlines.line(b"hello"), "", "not a push command"),
    "a ref with a NUL": (forge.pktlines.line(f"{ZERO} {NOWHERE} ".encode() + b"\0\0"), "", "not a push command"),
    "gzip that is none": (b"junk", "gzip", "damaged"),
    "gzip that is cut": (gzip.compress(b"0032")[:-9], "gzip", "cut short"),
    "a gzip bomb": (gzip.compress(b"0032shallow " + b"1" * 38 + bytes(1 << 20)), "gzip", ""),
    "another encoding": (b"0000", "br", "other than gzip"),
}


@define
class Scene:
    """One app, and what there is of it and around it."""

    service: Service

    def files(self) -> set[str]:
        """All files of the app, and in the spool, but for the lock of the upkeep, which begins when it likes."""
        found = {path for path in self.service.root.rglob("*") if path.name != RUNNING}
        return {str(path.relative_to(self.service.root)) for path in found}

    def workers(self) -> dict[int, int]:
        """The descriptors that each worker holds, by its pid."""
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return {int(pid): len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in children}


async def begun(service: Service) -> There:
    """An app with two commits, made as a pusher makes them."""
    objects = Objects()
    first = objects.commit()
    tip = objects.commit(None, first)
    request = forge.push([(MAIN, ZERO, tip), ("refs/heads/side/way", ZERO, first)], objects.pack())
    status, _, answer = await ask(service, post("/webapp/git-receive-pack", RECEIVE, request))
    assert status == 200
    assert b"ok refs/heads/main" in answer
    return There(first, tip)


@pytest_twisted.async_yield_fixture
async def strict(tmp_path: Path) -> AsyncIterator[Service]:
    """A service with small limits."""
    running = Service(tmp_path / "hub", LIMITS)
    running.start()
    yield running
    await running.stop()


@pytest_twisted.ensureDeferred
async def test_each_bad_push_is_refused_for_its_reason_and_leaves_nothing(strict: Service, git: Git) -> None:
    """No ref, file, descriptor or process is other than it was, and git calls the repository clean."""
    service = strict
    there = await begun(service)
    path = service.repositories.path("webapp")
    scene, refs = Scene(service), read_refs(path)
    await ask(service, post("/webapp/git-receive-pack", RECEIVE, rewritten(there)))
    files, workers = scene.files(), scene.workers()
    for name, (body, reason) in REFUSED.items():
        status, _, answer = await ask(service, post("/webapp/git-receive-pack", RECEIVE, body(there)))
        assert (status, b"\nok " in answer) == (200, False), (name, answer)
        assert reason.encode() in answer, (name, answer)
        assert b"ng " in answer, (name, answer)
    for name, (content, encoding, reason) in NO_PUSH.items():
        headers = {"Content_Encoding": encoding} if encoding else {}
        status, _, answer = await ask(service, post("/webapp/git-receive-pack", RECEIVE, content, **headers))
        assert (status, answer.count(b"\n")) == (400, 1), (name, answer)
        assert reason.encode() in answer, (name, answer)
    assert read_refs(path) == refs
    assert scene.files() == files
    # The workers are the same, and hold nothing more: after a job that fails they close packs that they had open.
    held = scene.workers()
    assert all(held[pid] <= number for pid, number in workers.items())
    await git(path, "fsck", "--full", "--strict")


@pytest_twisted.ensureDeferred
async def test_what_a_shell_would_run_is_only_a_name(service: Service, git: Git) -> None:
    """git allows these names."""
    there = await begun(service)
    names = ["refs/heads/-rf", "refs/heads/$(id)", "refs/heads/`id`", "refs/tags/;reboot"]
    request = forge.push([(name, ZERO, there.tip) for name in names], forge.pack([]))
    _, _, answer = await ask(service, post("/webapp/git-receive-pack", RECEIVE, request))
    assert answer.count(b"ok refs/") == len(names)
    shown = await git(service.root, "ls-remote", f"{service.url}/webapp")
    assert [name for name in names if name not in shown] == []


@pytest_twisted.ensureDeferred
async def test_of_pushes_at_once_to_one_branch_exactly_one_wins(service: Service) -> None:
    """The others are told, and the branch is where the winner put it."""
    there = await begun(service)
    tips, asked = [], []
    for number in range(5):
        objects = Objects()
        tips.append(objects.commit(None, there.tip, message=b"%d" % number))
        request = forge.push([(MAIN, there.tip, tips[-1])], objects.pack())
        asked.append(ensureDeferred(ask(service, post("/webapp/git-receive-pack", RECEIVE, request))))
    answers = [answer for _, _, answer in await gatherResults(asked)]
    won = [b"ok refs/heads/main" in answer for answer in answers]
    assert sum(won) == 1
    assert sum(b"the ref has moved meanwhile" in answer for answer in answers) == 4
    path = service.repositories.path("webapp")
    assert read_refs(path).values[MAIN.encode()].decode() == tips[won.index(True)]
