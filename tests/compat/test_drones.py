"""The drone's fetch against the real service, and its checkout against what git writes."""

from __future__ import annotations

import datetime
import random
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.threads import deferToThread

from deployd.errors import DeploydError, Refused, SecretRefused, UnknownApp, UnknownCommit, Unreachable
from deployd.git import pktlines
from deployd.git.limits import GitLimits
from deployd.git.mirror.checking_out import checkout
from deployd.git.mirror.fetching import fetch, has, keep
from deployd.git.mirror.transfer import Source
from deployd.git.packs.objects import Objects
from deployd.git.serving.offers import Offers
from deployd.git.serving.understanding import understand
from tests.compat.service import TOKEN, Git, Service


def fetching(
    service: Service, mirror: Path, commit: str, token: str = TOKEN, limits: GitLimits | None = None
) -> Deferred[None]:
    return fetching_from(f"{service.url}/webapp", mirror, commit, token, limits=limits)


def fetching_from(
    url: str,
    mirror: Path,
    commit: str,
    token: str = TOKEN,
    roots: str | None = None,
    timeout: float = 20.0,
    limits: GitLimits | None = None,
) -> Deferred[None]:
    source = Source(url, "drone", token, roots)
    return deferToThread(fetch, mirror, source, commit, timeout, limits or GitLimits())


def self_signed(host: str) -> PrivateCertificate:
    """A certificate for ``host`` that is its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return PrivateCertificate.loadPEM(pem)


async def failure_of(deferred: Deferred[None]) -> DeploydError:
    with pytest.raises(DeploydError) as caught:
        await deferred
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest_twisted.ensureDeferred
async def test_a_commit_of_a_branch_and_a_deployed_one_can_be_fetched(
    service: Service, git: Git, tmp_path: Path
) -> None:
    """The tip, one before it, and one that no branch has any more only once it is deployed; each as git has it."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o755)
    (work / "link").symlink_to("src/app.txt")
    first = await git.commit(work, {"a/b/c.txt": "deep\n"})
    second = await git.commit(work, {"src/app.txt": "two\n"})
    await git(work, "push", url, "master")
    await git(work, "checkout", "-q", "-b", "gone")
    gone = await git.commit(work, {"src/app.txt": "three\n"})
    await git(work, "push", url, "gone")
    mirror = tmp_path / "drone" / "webapp"
    for commit in (second, first):
        await fetching(service, mirror, commit)
        assert has(mirror, commit)
    await git(work, "push", url, ":gone")
    assert isinstance(await failure_of(fetching(service, mirror, gone)), UnknownCommit)
    await git(work, "push", url, "gone")
    service.repositories.keep("webapp", gone)
    await git(work, "push", url, ":gone")
    await fetching(service, mirror, gone)
    await git(mirror, "fsck", "--full")
    for commit in (first, second, gone):
        target = tmp_path / "apps" / commit
        checkout(mirror, commit, target, GitLimits())
        await git(work, "--work-tree", str(target), "diff", "--exit-code", commit)
        await git(work, "--work-tree", str(target), "diff", "--exit-code", commit, "--", "link", "run")


@pytest_twisted.ensureDeferred
async def test_what_was_offered_can_be_had_though_the_branch_has_moved_since(
    service: Service, git: Git, tmp_path: Path
) -> None:
    """A push may come between the two requests of a clone."""
    work = await git.repository()
    url = f"{service.url}/webapp"
    await git(work, "push", url, "master")
    offered = (await git(work, "ls-remote", url, "master")).split()[0]
    await git.commit(work, {"src/app.txt": "two\n"})
    await git(work, "push", url, "master")
    path = service.repositories.path("webapp")
    want = f"want {offered} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta no-progress\n"
    request = pktlines.line(want.encode()) + pktlines.FLUSH + pktlines.line(b"done\n")
    objects = Objects(path)
    understood = await deferToThread(understand, objects, Offers(path), request, 0, False)
    objects.close()
    assert understood.recipe is not None


@pytest_twisted.ensureDeferred
async def test_a_commit_after_one_that_is_here_brings_only_what_is_new(
    service: Service, git: Git, tmp_path: Path
) -> None:
    """Each mirror is what git calls whole, whatever is forgotten; what was forgotten can be fetched again."""
    work = await git.repository(files={f"lib/{n}.txt": random.Random(n).randbytes(200).hex() for n in range(50)})
    mirror = tmp_path / "mirror"
    commits = []
    for number in range(3):
        commits.append(await git.commit(work, {"lib/7.txt": f"{number}\n", "n": str(number)}))
        await git(work, "push", f"{service.url}/webapp", "master")
        await fetching(service, mirror, commits[-1])
        assert "unreachable" not in await git(mirror, "fsck", "--full", "--unreachable")
    sizes = sorted(path.stat().st_size for path in (mirror / "objects/pack").glob("*.pack"))
    assert 2 * sizes[1] < sizes[2]
    keep(mirror, commits[1:])
    assert [has(mirror, commit) for commit in commits] == [False, True, True]
    await git(mirror, "fsck", "--full")
    for commit in commits[1:]:
        checkout(mirror, commit, tmp_path / commit, GitLimits())
        await git(work, "--work-tree", str(tmp_path / commit), "diff", "--exit-code", commit)
    # A commit whose parent was here, and goes; then one with the files of that parent.
    commits.append(await git.commit(work, {f"lib/{n}.txt": f"{n}" for n in range(50)} | {"n": "x"}))
    await git(work, "push", f"{service.url}/webapp", "master")
    await fetching(service, mirror, commits[3])
    keep(mirror, commits[3:])
    await git(mirror, "fsck", "--full")
    await git(work, "revert", "--no-edit", "HEAD")
    await git(work, "push", f"{service.url}/webapp", "master")
    await fetching(service, mirror, (await git(work, "rev-parse", "HEAD")).strip())
    await git(mirror, "fsck", "--full")
    keep(mirror, ())
    assert not list((mirror / "objects/pack").iterdir())
    await fetching(service, mirror, commits[0])
    assert has(mirror, commits[0])
    await git(mirror, "fsck", "--full")


@pytest_twisted.ensureDeferred
async def test_a_mirror_whose_packs_each_have_all_of_one_commit_goes_on(
    service: Service, git: Git, tmp_path: Path
) -> None:
    """As an earlier deployd left it: the same objects in several packs, every commit shallow."""
    work = await git.repository(files={f"lib/{n}.txt": random.Random(n).randbytes(200).hex() for n in range(50)})
    url, mirror = f"{service.url}/webapp", tmp_path / "mirror"
    commits = []
    for number in range(3):
        commits.append(await git.commit(work, {"lib/7.txt": f"{number}\n"}))
    await git(work, "push", url, "master")
    await git(tmp_path, "init", "-q", "--bare", str(mirror))
    for commit in commits[:2]:
        fresh = tmp_path / f"fresh-{commit}"
        await fetching(service, fresh, commit)
        for path in (fresh / "objects/pack").iterdir():
            path.rename(mirror / "objects/pack" / path.name)
    (mirror / "shallow").write_text("".join(f"{commit}\n" for commit in sorted(commits[:2])))
    lines = "".join(f"{commit} refs/deploy/{commit}\n" for commit in sorted(commits[:2]))
    (mirror / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + lines)
    await git(mirror, "fsck", "--full", "--strict")

    await fetching(service, mirror, commits[2])
    sizes = sorted(path.stat().st_size for path in (mirror / "objects/pack").glob("*.pack"))
    assert len(sizes) == 3
    assert 2 * sizes[0] < sizes[1]
    keep(mirror, commits[1:])
    assert [has(mirror, commit) for commit in commits] == [False, True, True]
    await git(mirror, "fsck", "--full", "--strict")
    for commit in commits[1:]:
        checkout(mirror, commit, tmp_path / commit, GitLimits())
        await git(work, "--work-tree", str(tmp_path / commit), "diff", "--exit-code", commit)


@pytest_twisted.ensureDeferred
async def test_a_damaged_mirror_is_fetched_anew(service: Service, git: Git, tmp_path: Path) -> None:
    """Also by a fetch that would have built upon it."""
    work = await git.repository(files={f"{number}.txt": f"{number}\n" for number in range(9)})
    url, mirror = f"{service.url}/webapp", tmp_path / "mirror"
    for damage in (b"", b"nonsense" * 200):
        await git(work, "push", url, "HEAD:master")
        await fetching(service, mirror, (await git(work, "rev-parse", "HEAD")).strip())
        for index in (mirror / "objects/pack").glob("*.idx"):
            index.chmod(0o644)
            index.write_bytes(damage)
        commit = await git.commit(work, {"1.txt": damage.decode()})
        await git(work, "push", url, "HEAD:master")
        await fetching(service, mirror, commit)
        await git(mirror, "fsck", "--full")
        checkout(mirror, commit, tmp_path / commit, GitLimits())


@pytest_twisted.ensureDeferred
async def test_two_fetches_into_one_mirror_both_come_right(service: Service, git: Git, tmp_path: Path) -> None:
    """Of one commit, and of different ones."""
    work = await git.repository()
    await git(work, "push", f"{service.url}/webapp", "master")
    first = (await git(work, "rev-parse", "HEAD")).strip()
    service.repositories.keep("webapp", first)
    second = await git.commit(work, {"x": "y"})
    await git(work, "push", f"{service.url}/webapp", "master")
    mirror = tmp_path / "mirror"
    runs = [fetching(service, mirror, commit) for commit in (first, second, first, second)]
    assert all(success for success, _ in await DeferredList(runs, consumeErrors=True))
    assert has(mirror, first)
    assert has(mirror, second)


@pytest_twisted.ensureDeferred
async def test_refusals_are_told_apart(service: Service, git: Git, tmp_path: Path) -> None:
    """A wrong token, an unknown app or commit, nobody there, too large."""
    work = await git.repository()
    await git(work, "push", f"{service.url}/webapp", "master")
    tip = (await git(work, "rev-parse", "HEAD")).strip()
    mirror = tmp_path / "mirror"
    assert isinstance(await failure_of(fetching(service, mirror, tip, token="wrong")), SecretRefused)
    assert isinstance(await failure_of(fetching(service, mirror, "1" * 40)), UnknownCommit)
    nothing = fetching_from(f"{service.url}/nothing", mirror, tip)
    assert isinstance(await failure_of(nothing), UnknownApp)
    closed = fetching_from("http://127.0.0.1:1/webapp", mirror, tip)
    assert isinstance(await failure_of(closed), Unreachable)
    assert isinstance(await failure_of(fetching(service, mirror, tip, limits=GitLimits(pack_bytes=100))), Refused)
    assert not has(mirror, tip)
    await fetching(service, mirror, tip)
    assert has(mirror, tip)


class Odd(Protocol):
    """A server that answers any request with ``factory.answer``, and perhaps hangs up."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.answer)
        if self.factory.hangs_up:
            self.transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_a_broken_or_silent_hub_is_unreachable(tmp_path: Path) -> None:
    """Garbage, other pages, a cut transfer, silence: one sentence, in time."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n"
    for answer, hangs_up in (
        (b"garbage\r\n\r\n", True),
        (b"", True),
        (b"", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", True),
        (head + b"Content-Length: 100\r\n\r\n00", True),
        (head + b"\r\n0000" + b"0008NAK\n" + b"0005\x01", True),
        (head + b"\r\nzzzz", True),
        (head + b"Transfer-Encoding: chunked\r\n\r\n4\r\n0000\r\nffffff", True),
    ):
        factory = Factory.forProtocol(Odd)
        factory.answer, factory.hangs_up = answer, hangs_up
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/webapp"
        running = fetching_from(url, tmp_path / "mirror", "1" * 40, timeout=0.5)
        assert isinstance(await failure_of(running), Unreachable), answer
        await port.stopListening()
    assert not list((tmp_path / "mirror" / "objects").glob("tmp*"))


@pytest_twisted.ensureDeferred
async def test_a_fetch_over_tls_trusts_only_what_it_should(service: Service, git: Git, tmp_path: Path) -> None:
    """With the certificate's authority it works; without it, or under another name, the token is never sent."""
    work = await git.repository()
    await git(work, "push", f"{service.url}/webapp", "master")
    tip = (await git(work, "rev-parse", "HEAD")).strip()
    certificate = self_signed("localhost")
    port = reactor.listenSSL(0, service.site, certificate.options(), interface="127.0.0.1")
    number = port.getHost().port
    roots = certificate.dumpPEM().decode().split("-----BEGIN PRIV")[0]
    for host, trusted in (("localhost", None), ("localhost", ""), ("127.0.0.1", roots)):
        url = f"https://{host}:{number}/webapp"
        failure = await failure_of(fetching_from(url, tmp_path / "mirror", tip, roots=trusted))
        assert isinstance(failure, Unreachable)
        assert "certificate is not trusted" in str(failure)
    url = f"https://localhost:{number}/webapp"
    await fetching_from(url, tmp_path / "mirror", tip, roots=roots)
    assert has(tmp_path / "mirror", tip)
    authority = tmp_path / "ca.pem"
    authority.write_bytes(certificate.dumpPEM())
    assert tip in await git(work, "-c", f"http.sslCAInfo={authority}", "ls-remote", url)
    await git(work, "ls-remote", url, ok=False)
    await port.stopListening()
