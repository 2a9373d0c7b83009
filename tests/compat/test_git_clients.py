"""The real git client against the real service."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest_twisted
from twisted.internet.defer import DeferredList, ensureDeferred

from deployd.git.receiving.receipt import RefUpdate
from tests.compat.service import SECRET, Git, Service


@pytest_twisted.ensureDeferred
async def test_the_first_push_creates_the_app_and_a_clone_gives_it_back(service: Service, git: Git) -> None:
    """A push to a new app creates it; its branch becomes HEAD; a clone has the same commit and is sound."""
    work = await git.repository()
    tip = (await git(work, "rev-parse", "HEAD")).strip()
    await git(work, "push", f"{service.url}/webapp", "master:main")
    assert service.repositories.apps() == ["webapp"]
    assert service.repositories.head("webapp") == tip
    assert service.pushes == [("webapp", [RefUpdate("refs/heads/main", None, tip)])]
    clone = git.home / "clone"
    await git(git.home, "clone", "-q", f"{service.url}/webapp.git", str(clone))
    assert (clone / "src" / "app.txt").read_text() == "one\n"
    assert (await git(clone, "branch", "--show-current")).strip() == "main"
    await git(service.repositories.path("webapp"), "fsck", "--full", "--strict")
    assert service.leftovers() == []


@pytest_twisted.ensureDeferred
async def test_a_later_push_is_fetched_incrementally(service: Service, git: Git) -> None:
    """push, clone, commit, push, fetch: the clone follows, also over tags and many branches."""
    work = await git.repository()
    url = f"{service.url}/team/webapp"
    await git(work, "push", url, "master")
    clone = git.home / "clone"
    await git(git.home, "clone", "-q", url, str(clone))
    second = await git.commit(work, {"src/app.txt": "two\n"})
    await git(work, "tag", "-a", "v1", "-m", "release")
    for number in range(20):
        await git(work, "branch", f"b/{number}")
    await git(work, "push", "--all", url)
    await git(work, "push", "--tags", url)
    await git(clone, "pull", "-q", "--tags")
    assert (await git(clone, "rev-parse", "HEAD")).strip() == second
    assert (await git(clone, "rev-parse", "v1^{commit}")).strip() == second
    assert service.repositories.apps() == ["team/webapp"]
    assert service.repositories.resolve("team/webapp", "v1") == second
    shallow = git.home / "shallow"
    await git(git.home, "clone", "-q", "--depth=1", url, str(shallow))
    await git(shallow, "fetch", "-q", "--unshallow")
    await git(shallow, "fsck")


@pytest_twisted.ensureDeferred
async def test_a_push_over_one_mebibyte_arrives_in_chunks(service: Service, git: Git) -> None:
    """git sends bodies over http.postBuffer chunked, without knowing their length."""
    work = await git.repository()
    (work / "large.bin").write_bytes(os.urandom(3 << 20))
    tip = await git.commit(work, {"more.txt": "text\n" * 1000})
    await git(work, "push", f"{service.url}/webapp", "master")
    assert service.repositories.head("webapp") == tip


@pytest_twisted.ensureDeferred
async def test_a_gzipped_fetch_is_understood(service: Service, git: Git) -> None:
    """git gzips a request of many haves."""
    work = await git.repository()
    for number in range(10):
        await git.commit(work, {"n.txt": str(number)})
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master")
    clone = git.home / "clone"
    await git(git.home, "clone", "-q", url, str(clone))
    for number in range(30):
        await git.commit(clone, {"mine.txt": str(number)})
    await git.commit(work, {"n.txt": "last"})
    await git(work, "push", url, "master")
    trace = await git(clone, "-c", "http.version=HTTP/1.1", "fetch", "-q", "origin")
    assert "error" not in trace
    assert (await git(clone, "rev-parse", "origin/master")) == (await git(work, "rev-parse", "master"))


@pytest_twisted.ensureDeferred
async def test_the_secret_may_be_in_the_url_and_a_wrong_one_is_refused(service: Service, git: Git) -> None:
    """Credentials from the URL work whatever characters the secret has; a wrong one creates and shows nothing."""
    work = await git.repository()
    host = service.url.removeprefix("http://")
    wrong = Git(git.home, "wrong")
    said = await wrong(work, "push", f"{service.url}/webapp", "master", ok=False)
    assert "Authentication failed" in said
    assert service.repositories.apps() == []
    await git(work, "push", f"http://any:{quote(SECRET, safe='')}@{host}/webapp", "master")
    assert service.repositories.apps() == ["webapp"]
    await wrong(git.home, "clone", f"{service.url}/webapp", "stolen", ok=False)
    await git(git.home, "clone", f"{service.url}/webapp", "fine")


@pytest_twisted.ensureDeferred
async def test_of_two_pushes_at_once_exactly_one_wins(service: Service, git: Git) -> None:
    """Both start from the same commit; the loser is told and the branch holds the winner's."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master")
    tips = {}
    for name in ("left", "right"):
        await git(git.home, "clone", "-q", url, str(git.home / name))
        tips[name] = await git.commit(git.home / name, {"who.txt": name})
    results = await DeferredList([git.run(git.home / name, "push", url, "master") for name in tips])
    codes = [code for _, (_, _, code) in results]
    assert sorted(code == 0 for code in codes) == [False, True]
    winner = ("left", "right")[codes.index(0)]
    assert service.repositories.head("webapp") == tips[winner]
    assert service.leftovers() == []


@pytest_twisted.ensureDeferred
async def test_history_is_not_rewritten_and_the_default_branch_stays(service: Service, git: Git) -> None:
    """A forced push and a delete of the default branch are refused with a reason; other branches may go."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master", "master:other")
    await git(work, "commit", "-q", "--amend", "-m", "rewritten")
    assert "non-fast-forward" in await git(work, "push", "--force", url, "master", ok=False)
    assert "cannot be deleted" in await git(work, "push", url, ":master", ok=False)
    await git(work, "push", url, ":other")
    assert "other" not in await git(work, "ls-remote", url)


@pytest_twisted.ensureDeferred
async def test_an_atomic_push_moves_all_or_nothing(service: Service, git: Git) -> None:
    """One refused ref takes the other with it."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", "--atomic", url, "master", "master:other")
    await git(work, "checkout", "-q", "--orphan", "fresh")
    await git.commit(work, {"x": "y"})
    await git(work, "push", "--atomic", "--force", url, "fresh:other", "fresh:third", ok=False)
    assert "third" not in await git(work, "ls-remote", url)


@pytest_twisted.ensureDeferred
async def test_deployed_commits_are_hidden_and_unwritable(service: Service, git: Git) -> None:
    """refs/deploy/* is not shown to a person, cannot be pushed, and what only it leads to cannot be had by its id."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master")
    await git(work, "checkout", "-q", "-b", "gone")
    first = await git.commit(work, {"src/app.txt": "two\n"})
    await git(work, "push", url, "gone")
    service.repositories.keep("webapp", first)
    await git(work, "push", url, ":gone")
    assert "deploy" not in await git(work, "ls-remote", url)
    said = await git(work, "push", url, f"master:refs/deploy/{first}", ok=False)
    assert "only branches and tags" in said
    await git(work, "push", url, "master:refs/notes/x", ok=False)
    empty = git.home / "empty"
    await git(git.home, "init", "-q", str(empty))
    for version in ("0", "2"):
        await git(empty, "-c", f"protocol.version={version}", "fetch", url, first, ok=False)


@pytest_twisted.ensureDeferred
async def test_an_unknown_or_impossible_app_is_one_sentence(service: Service, git: Git) -> None:
    """Reading what is not there, or a name that is none, ends git with the hub's sentence and creates nothing."""
    assert "git push creates it" in await git(git.home, "clone", f"{service.url}/nothing", ok=False)
    work = await git.repository()
    for name in ("-rf", "a//b", "..%2f..%2fx", "x.git/..", "a" * 300, "%00", "healthz"):
        said = await git(work, "-c", "http.followRedirects=false", "push", f"{service.url}/{name}", "master", ok=False)
        assert "Traceback" not in said
    assert service.repositories.apps() == []
    assert [path.name for path in service.root.iterdir()] == ["repositories"]


@pytest_twisted.ensureDeferred
async def test_clone_of_an_app_that_has_only_tags(service: Service, git: Git, tmp_path: Path) -> None:
    """No branch, so no HEAD: git says so and goes on."""
    work = await git.repository()
    await git(work, "tag", "light")
    await git(work, "push", f"{service.url}/webapp", "light")
    await git(tmp_path, "clone", "-q", f"{service.url}/webapp", "got")
    assert "refs/tags/light" in await git(tmp_path, "ls-remote", f"{service.url}/webapp")


@pytest_twisted.ensureDeferred
async def test_eight_clones_at_once_all_come_right(service: Service, git: Git) -> None:
    """More clients than threads would be needed for one each."""
    work = await git.repository(files={f"f{number}.txt": str(number) * 100 for number in range(50)})
    await git(work, "push", f"{service.url}/webapp", "master")
    runs = [ensureDeferred(git(git.home, "clone", "-q", f"{service.url}/webapp", f"c{n}")) for n in range(8)]
    assert all(success for success, _ in await DeferredList(runs))


@pytest_twisted.ensureDeferred
async def test_remarks_on_a_push_are_shown_to_who_pushes(service: Service, git: Git) -> None:
    """Each is a line of its own behind ``remote:``, before what git says itself; the push succeeds."""
    work = await git.repository()
    service.remarks = ["deployd: master is fine", "deployd.toml line 7: ключ " + "x" * 70_000]
    said = await git(work, "push", f"{service.url}/webapp", "master")
    assert "remote: deployd: master is fine" in said
    assert "remote: deployd.toml line 7: ключ xxx" in said
    assert said.index("line 7") < said.index("[new branch]")
    assert service.repositories.apps() == ["webapp"]
