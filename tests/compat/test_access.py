"""The real git and who may read and write: what is public is read by everybody, all else asks."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from deployd.git.limits import GitLimits
from deployd.git.serving.advertising import RECEIVE
from deployd.model.policy import Policy
from tests.compat.service import SECRET, Git, Service
from tests.compat.test_http import ask, head, wire

NO_HELPER = ("-c", "credential.helper=")
PUBLIC = Policy(public=True)
GUESSES = 12


@pytest_twisted.ensureDeferred
async def test_what_is_public_is_cloned_without_credentials_and_nothing_else_is(service: Service, git: Git) -> None:
    work = await git.repository()
    for app in ("open", "closed"):
        await git(work, "push", f"{service.url}/{app}", "master")
    service.policies["open"] = PUBLIC
    service.repositories.keep("open", (await git(work, "rev-parse", "HEAD")).strip())
    await git(work, *NO_HELPER, "clone", "-q", f"{service.url}/open", "copy")
    assert "refs/deploy" not in await git(work, *NO_HELPER, "ls-remote", f"{service.url}/open")
    for words in (("clone", f"{service.url}/closed"), ("ls-remote", f"{service.url}/nosuch")):
        assert "could not read Username" in await git(work, *NO_HELPER, *words, ok=False)
    await git.commit(work, {"more": "1"})
    assert "could not read Username" in await git(work, *NO_HELPER, "push", f"{service.url}/open", "master", ok=False)
    # What a helper knows, and what is in the URL.
    await git(work, "push", f"{service.url}/open", "master")
    login = f"http://x:{quote(SECRET, safe='')}@{service.url.removeprefix('http://')}"
    await git(work, *NO_HELPER, "ls-remote", f"{login}/closed")
    await git(work, *NO_HELPER, "push", f"{login}/closed", "master")


@pytest_twisted.ensureDeferred
async def test_wrong_secrets_wait_and_the_right_one_passes_from_the_same_address(tmp_path: Path) -> None:
    """What is asked without any is refused at once, as every git begins so."""
    service = Service(tmp_path / "hub", GitLimits(refusal_seconds=3600.0))
    service.start()
    try:
        guessers = [await wire(service) for _ in range(GUESSES)]
        for guesser in guessers:
            guesser.transport.write(head("GET", f"/webapp/info/refs?service={RECEIVE}", "wrong"))
        while service.site.git.guesses.waiting + sum(b"401" in guesser.data for guesser in guessers) < GUESSES:
            await deferLater(reactor, 0.01)
        assert (await ask(service, head("GET", f"/webapp/info/refs?service={RECEIVE}")))[0] == 200
        assert (await ask(service, head("GET", f"/webapp/info/refs?service={RECEIVE}", None)))[0] == 401
        assert guessers[-1].data == b""
        for guesser in guessers:
            guesser.transport.abortConnection()
        # Who leaves is waited for no longer.
        while service.site.git.guesses.waiting:
            await deferLater(reactor, 0.01)
    finally:
        await service.stop()
