"""The real git client, in every version of its protocol, fetches whatever part of history it likes."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from tests.compat.service import Git, Service

every_version = pytest.mark.parametrize("version", ["0", "1", "2"])
both_versions = pytest.mark.parametrize("version", ["0", "2"])


class Stage:
    """An app with eight commits, a merged side branch and tags, and what its pusher has."""

    def __init__(self, service: Service, git: Git, version: str) -> None:
        self.url = f"{service.url}/webapp"
        self.git = git
        self.version = version

    async def __call__(self, where: Path, *arguments: str, ok: bool = True) -> str:
        return await self.git(where, "-c", f"protocol.version={self.version}", *arguments, ok=ok)

    async def set(self) -> Path:
        work = await self.git.repository()
        for number in range(3):
            await self.git.commit(work, {"src/app.txt": f"{number}\n", f"d{number}/x/y.txt": "same\n"})
        await self.git(work, "tag", "-a", "v1", "-m", "one")
        await self.git(work, "checkout", "-q", "-b", "side", "HEAD~1")
        await self.git.commit(work, {"side.txt": "side\n"})
        await self.git(work, "checkout", "-q", "master")
        await self.git(work, "merge", "-q", "-m", "merge", "side")
        for number in range(2):
            await self.git.commit(work, {"src/app.txt": f"after {number}\n"})
        await self.git(work, "push", "-q", "--all", self.url)
        await self.git(work, "push", "-q", "--tags", self.url)
        return work

    async def clone(self, name: str, *arguments: str) -> Path:
        await self(self.git.home, "clone", "-q", *arguments, self.url, name)
        return self.git.home / name

    async def count(self, where: Path, *revisions: str) -> int:
        return int(await self.git(where, "rev-list", "--count", *(revisions or ("HEAD",))))

    async def check(self, where: Path) -> None:
        assert await self.git(where, "fsck", "--strict", "--no-dangling", "--no-progress") == ""


@every_version
@pytest_twisted.ensureDeferred
async def test_everything_can_be_had_and_followed(service: Service, git: Git, version: str) -> None:
    """clone, mirror, one branch; then what is new, with its tag, as little as there is."""
    stage = Stage(service, git, version)
    work = await stage.set()
    refs = await stage.git(work, "ls-remote", ".", "refs/heads/*", "refs/tags/*")
    assert await stage(work, "ls-remote", stage.url, "refs/heads/*", "refs/tags/*") == refs
    mirror = await stage.clone("mirror", "--mirror")
    assert await stage.git(mirror, "ls-remote", ".", "refs/heads/*", "refs/tags/*") == refs
    clone, single = await stage.clone("clone"), await stage.clone("single", "--single-branch", "-b", "side")
    assert (clone / "src" / "app.txt").read_text() == "after 1\n"
    assert await stage.count(single) == await stage.count(work, "side")
    await stage.git.commit(work, {"src/app.txt": "news\n"})
    await stage.git(work, "tag", "-a", "v2", "-m", "two")
    await stage.git(work, "push", "-q", "--follow-tags", stage.url, "master")
    said = await stage(clone, "fetch", "--progress")
    assert "remote: Total 5 objects" in said
    for where in (clone, mirror, single):
        await stage(where, "fetch", "-q", "--tags")
        await stage.check(where)
    assert await stage.git(clone, "rev-parse", "v2^{}", "v2") == await stage.git(work, "rev-parse", "HEAD", "v2")


@both_versions
@pytest_twisted.ensureDeferred
async def test_histories_that_went_apart_are_joined(service: Service, git: Git, version: str) -> None:
    """Both sides have commits that the other has not, more than one round tells of."""
    stage = Stage(service, git, version)
    work = await stage.set()
    clone = await stage.clone("clone")
    for where in (work, clone):
        base = (await stage.git(where, "rev-parse", "HEAD")).strip()
        lines = [
            f"commit refs/heads/long\ncommitter A <a@b> {1_700_000_000 + number} +0000\ndata 1\n{number % 7}\n"
            + (f"from {base}\n" if not number else "")
            + f"M 100644 inline n\ndata <<X\n{where.name}{number}\nX\n\n"
            for number in range(120)
        ]
        (where / "stream").write_text("".join(lines))
        await stage.git(where, "-c", "core.bare=false", "config", "alias.import", "!git fast-import --quiet < stream")
        await stage.git(where, "import")
    await stage.git(work, "push", "-q", stage.url, "long")
    await stage(clone, "fetch", "-q")
    assert await stage.count(clone, "origin/long", "^long") == 120
    await stage.check(clone)


@both_versions
@pytest_twisted.ensureDeferred
async def test_shallow_clones_are_deepened_and_opened(service: Service, git: Git, version: str) -> None:
    """By depth, relatively, and to the end; what is pushed meanwhile comes, too, and a tag of a tree at once."""
    stage = Stage(service, git, version)
    work = await stage.set()
    await stage.git(work, "tag", "-a", "tree", "-m", "a tree", "HEAD^{tree}")
    await stage.git(work, "push", "-q", "--tags", stage.url)
    clone = await stage.clone("clone", "--depth=1")
    assert await stage.git(clone, "tag") == "tree\n"
    assert await stage.count(clone) == 1
    await stage.git.commit(work, {"src/app.txt": "news\n"})
    await stage.git(work, "push", "-q", stage.url, "master")
    await stage(clone, "pull", "-q")
    assert await stage.count(clone) == 2
    for arguments, count in ((["--depth=3"], 3), (["--deepen=1"], 4), (["--depth=2"], 2), (["--unshallow"], 9)):
        await stage(clone, "fetch", "-q", *arguments)
        assert await stage.count(clone, "origin/master") == count
        await stage.check(clone)
    assert not (clone / ".git" / "shallow").exists()
    infinite = await stage.clone("infinite", "--depth=2")
    await stage(infinite, "fetch", "-q", "--depth=2147483647")
    assert await stage.count(infinite, "origin/master") == 9


@pytest_twisted.ensureDeferred
async def test_history_is_cut_at_a_time_or_at_a_ref(service: Service, git: Git) -> None:
    stage = Stage(service, git, "2")
    work = await stage.set()
    clone = await stage.clone("clone", "--shallow-exclude=v1")
    assert await stage.count(clone) == 3, "the merge is at the cut, so the side branch is behind it"
    await stage(clone, "fetch", "-q", "--shallow-since=1970-01-02")
    assert await stage.count(clone) == await stage.count(work)
    await stage.check(clone)
    said = await stage(clone, "fetch", "--shallow-exclude=master", ok=False)
    assert "no commits selected" in said
    assert "ambiguous deepen-not: nothing" in await stage(clone, "fetch", "--shallow-exclude=nothing", ok=False)


@pytest_twisted.ensureDeferred
async def test_single_objects_can_be_had_by_id(service: Service, git: Git) -> None:
    """A commit that no ref is on, a tree, a file, a tag; but not what no ref leads to."""
    stage = Stage(service, git, "2")
    work = await stage.set()
    empty = await stage.git.repository("empty")
    names = await stage.git(work, "rev-parse", "HEAD~2", "HEAD~1:src", "HEAD~3:src/app.txt", "v1")
    for name in names.split():
        await stage(empty, "fetch", "-q", "--depth=1", stage.url, name)
        await stage.git(empty, "cat-file", "-e", name)
    hidden = await stage.git.commit(work, {"secret": "x"})
    assert f"not our ref {hidden}" in await stage(empty, "fetch", stage.url, hidden, ok=False)


@pytest_twisted.ensureDeferred
async def test_a_partial_clone_fetches_files_when_it_needs_them(service: Service, git: Git) -> None:
    """Without files, or trees, at first; then they come by their ids, and what is pushed later."""
    stage = Stage(service, git, "2")
    work = await stage.set()
    for name, spec in (("blobless", "blob:none"), ("treeless", "tree:0"), ("small", "blob:limit=1")):
        clone = await stage.clone(name, f"--filter={spec}", "--no-checkout")
        listed = await git(clone, "rev-list", "--objects", "--missing=print", "origin/master")
        assert "\n?" in listed, "what is missing has a question mark"
        await stage(clone, "checkout", "-q", "master")
        assert (clone / "src" / "app.txt").read_text() == "after 1\n"
    await stage.git.commit(work, {"src/app.txt": "news\n"})
    await stage.git(work, "push", "-q", stage.url, "master")
    for name in ("blobless", "treeless"):
        await stage(git.home / name, "pull", "-q")
        assert (git.home / name / "src" / "app.txt").read_text() == "news\n"
