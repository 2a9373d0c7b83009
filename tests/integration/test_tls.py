"""TLS by endpoint string, with certificates made here: AMP between deployd's programs, git over HTTPS."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.protocols import amp

from deployd.errors import DeploydError, SecretRefused, Unreachable, UsageError
from deployd.git.limits import GitLimits
from deployd.git.mirror.fetching import fetch, has
from deployd.git.mirror.transfer import Source
from deployd.net.addresses import client_endpoint
from deployd.net.client import Dial, client_factory, connect
from deployd.net.conversation import Conversation, responder
from deployd.net.handshake import Credentials
from deployd.net.link import Link
from deployd.net.peer import Peer
from deployd.net.secret import Secret
from deployd.net.server import HANDSHAKE_DEADLINE, ServerFactory, ServerPeer, ServerTerms
from deployd.wire.handshake import Hello, Prove
from tests.compat.service import SECRET, TOKEN, Git, Service
from tests.conftest import require
from tests.integration.certificates import DAY, Authority, Certified

DEADLINE = 30.0


class Say(amp.Command):
    arguments = [(b"text", amp.Unicode())]
    response = [(b"text", amp.Unicode())]


class Echo(Conversation):
    @responder(Say)
    def say(self, text: str) -> dict[str, str]:
        return {"text": text}


class Eavesdropped(ServerFactory):
    """Remembers every byte that its peers send inside the TLS."""

    heard = b""

    def buildProtocol(self, addr: Any) -> ServerPeer | None:
        peer = super().buildProtocol(addr)
        assert peer is not None
        received = peer.dataReceived

        def remember(data: bytes) -> None:
            self.heard += data
            received(data)

        peer.dataReceived = remember  # type: ignore[method-assign]
        return peer


@define
class Servers:
    """What a test listens on; all of it is closed after it."""

    ports: list[IListeningPort] = field(factory=list)
    factories: list[Eavesdropped] = field(factory=list)

    async def amp(self, endpoint: str) -> tuple[Eavesdropped, int]:
        """A hub at ``endpoint``, and its port number."""
        conversations = {"deploy": lambda peer, session: Echo()}
        factory = Eavesdropped(reactor, ServerTerms(kind="hub", secret=Secret(SECRET), conversations=conversations))
        self.factories.append(factory)
        return factory, await self.listen(endpoint, factory)

    async def listen(self, endpoint: str, factory: Any) -> int:
        port = await serverFromString(reactor, endpoint).listen(factory)
        self.ports.append(port)
        return int(port.getHost().port)

    async def close(self) -> None:
        """Stop listening, and wait until every peer is gone, as the client is that it talked to."""
        for port in self.ports:
            await port.stopListening()
        self.ports.clear()
        for factory in self.factories:
            for peer in list(factory.peers):
                await peer.when_closed().addTimeout(DEADLINE, reactor)


@pytest_twisted.async_yield_fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    yield made
    await made.close()


@frozen
class Authorities:
    """The one that clients trust, and another."""

    trusted: Authority
    other: Authority


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities(Authority(tmp_path / "trusted"), Authority(tmp_path / "other"))


def dial(address: str) -> Dial:
    endpoint, shown = client_endpoint(reactor, address, 6001)
    return Dial(reactor, endpoint, shown, Credentials("deployctl 0.1", "deploy", Secret(SECRET)))


async def disconnected(peer: Peer) -> None:
    peer.transport.loseConnection()
    await peer.when_closed()


async def refusal(address: str) -> DeploydError:
    with pytest.raises(DeploydError) as caught:
        await Deferred.fromCoroutine(connect(dial(address))).addTimeout(DEADLINE, reactor)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return caught.value


@pytest_twisted.ensureDeferred
async def test_amp_crosses_tls_that_both_ends_ask_for_by_endpoint_string(
    authorities: Authorities, servers: Servers
) -> None:
    """With a trusted certificate for the host's name or address; what does not fit into one packet, too."""
    factory, port = await servers.amp(authorities.trusted.certify("localhost", "127.0.0.1").listener())
    for host in ("localhost", "127.0.0.1"):
        peer = await connect(dial(f"tls:{host}:{port}:trustRoots={authorities.trusted.roots}"))
        assert await peer.call(Say, text="boop" * 15_000) == {"text": "boop" * 15_000}
        await disconnected(peer)
    assert b"boop" in factory.heard
    assert SECRET.encode() not in factory.heard


@pytest.mark.parametrize(
    ("signer", "host", "until", "reason"),
    [
        ("other", "localhost", DAY, "not signed by an authority trusted here"),
        ("trusted", "other.example", DAY, "for another host"),
        ("trusted", "localhost", -DAY, "expired"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_certificate_is_refused_in_one_sentence_before_anything_is_sent(
    authorities: Authorities, servers: Servers, signer: str, host: str, until: datetime.timedelta, reason: str
) -> None:
    certified: Certified = getattr(authorities, signer).certify(host, until=until)
    factory, port = await servers.amp(certified.listener())
    error = await refusal(f"tls:localhost:{port}:trustRoots={authorities.trusted.roots}")
    assert isinstance(error, Unreachable)
    assert error.exit_code == 3
    assert f"localhost:{port}" in str(error)
    assert reason in str(error)
    assert factory.heard == b""


@pytest_twisted.ensureDeferred
async def test_a_link_tells_of_a_wrong_certificate_and_goes_on_trying_until_it_is_right(
    authorities: Authorities, servers: Servers
) -> None:
    """As a drone does whose hub's certificate has run out and is renewed."""
    _, port = await servers.amp(authorities.other.certify("localhost").listener())
    failures: list[DeploydError] = []
    failed: Deferred[None] = Deferred()
    attached: Deferred[Peer] = Deferred()

    def hear(error: DeploydError) -> None:
        failures.append(error)
        if not failed.called:
            failed.callback(None)

    async def attach(peer: Peer) -> None:
        attached.callback(peer)

    roots = authorities.trusted.roots
    link = Link(dial(f"tls:localhost:{port}:trustRoots={roots}"), attach, failed=hear, retry=lambda _: 0.05)
    link.startService()
    await failed.addTimeout(DEADLINE, reactor)
    assert "certificate" in str(failures[0])
    await servers.close()
    await servers.amp(authorities.trusted.certify("localhost").listener(port))
    peer = await attached.addTimeout(DEADLINE, reactor)
    await link.stopService()
    await peer.when_closed()
    assert all(isinstance(failure, Unreachable) for failure in failures)


@pytest_twisted.ensureDeferred
async def test_tls_on_one_side_only_is_named_as_the_likely_reason(authorities: Authorities, servers: Servers) -> None:
    _, plain = await servers.amp("tcp:0:interface=127.0.0.1")
    _, secure = await servers.amp(authorities.trusted.certify("localhost").listener())
    for address in (f"tls:localhost:{plain}:trustRoots={authorities.trusted.roots}", f"localhost:{secure}"):
        error = await refusal(address)
        assert error.exit_code == 3
        assert "TLS" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_server_hangs_up_over_tls_too(authorities: Authorities, servers: Servers) -> None:
    """On who guesses the secret wrong, and on everybody when it stops, without a word from them."""
    factory, port = await servers.amp(authorities.trusted.certify("localhost").listener())
    endpoint, _ = client_endpoint(reactor, f"tls:localhost:{port}:trustRoots={authorities.trusted.roots}", 6001)
    guesser: Peer = await endpoint.connect(client_factory(reactor))
    await guesser.call(Hello, oldest=1, newest=2, program="p", purpose="deploy", nonce=b"n" * 32)
    with pytest.raises(SecretRefused):
        await guesser.call(Prove, proof=b"x" * 32, owner="", key=b"", signature=b"")
    # Sooner than who says nothing.
    await guesser.when_closed().addTimeout(HANDSHAKE_DEADLINE * 0.9, reactor)
    peer = await connect(dial(f"tls:localhost:{port}:trustRoots={authorities.trusted.roots}"))
    factory.close_all()
    await peer.when_closed().addTimeout(DEADLINE, reactor)


@pytest_twisted.ensureDeferred
async def test_half_a_tls_handshake_is_not_waited_for_for_ever(authorities: Authorities, servers: Servers) -> None:
    """The deadline of the greeting begins with the connection, not with the end of the TLS handshake."""
    factory, port = await servers.amp(authorities.trusted.certify("localhost").listener())
    closed: Deferred[None] = Deferred()

    class Half(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"\x16\x03\x01\x02\x00\x01")

        def connectionLost(self, reason: Any = None) -> None:
            closed.callback(None)

    endpoint, _ = client_endpoint(reactor, f"127.0.0.1:{port}", 6001)
    await endpoint.connect(Factory.forProtocol(Half))
    while not factory.peers:
        await deferToThread(lambda: None)
    (peer,) = factory.peers
    assert peer._deadline is not None
    peer._deadline.reset(0)
    await closed.addTimeout(DEADLINE, reactor)


def test_trust_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        client_endpoint(reactor, f"tls:localhost:6001:trustRoots={tmp_path / 'nosuch'}", 6001)


# Git.


@pytest_twisted.async_yield_fixture
async def service(tmp_path: Path, authorities: Authorities) -> AsyncIterator[Service]:
    """A git service with a certificate for localhost."""
    running = Service(tmp_path / "hub")
    running.start()
    await running.port.stopListening()
    certified = authorities.trusted.certify("localhost")
    running.port = await serverFromString(reactor, certified.listener()).listen(running.site)
    running.url = f"https://localhost:{running.port.getHost().port}"
    yield running
    await running.stop()


@pytest.fixture
def git(tmp_path: Path) -> Git:
    home = tmp_path / "home"
    home.mkdir()
    return Git(home)


def trusting(authority: Authority) -> tuple[str, str]:
    return "-c", f"http.sslCAInfo={authority.pem}"


@require("git")
@pytest_twisted.ensureDeferred
async def test_git_pushes_and_clones_over_https(service: Service, git: Git, authorities: Authorities) -> None:
    work = await git.repository(files={"a.txt": "one\n", "large": "x" * 3_000_000})
    await git(work, *trusting(authorities.trusted), "push", "-q", f"{service.url}/webapp", "master")
    await git(work, *trusting(authorities.trusted), "clone", "-q", f"{service.url}/webapp", "copy")
    assert (work / "copy" / "a.txt").read_text() == "one\n"
    assert [app for app, _ in service.pushes] == ["webapp"]


@require("git")
@pytest_twisted.ensureDeferred
async def test_git_refuses_a_wrong_certificate_and_nothing_arrives(
    service: Service, git: Git, authorities: Authorities
) -> None:
    work = await git.repository()
    said = await git(work, *trusting(authorities.other), "push", f"{service.url}/webapp", "master", ok=False)
    assert "certificate" in said
    assert SECRET not in said
    elsewhere = service.url.replace("localhost", "127.0.0.1")
    said = await git(work, *trusting(authorities.trusted), "push", f"{elsewhere}/webapp", "master", ok=False)
    assert "certificate" in said
    assert service.pushes == []
    assert service.repositories.apps() == []


@require("git")
@pytest_twisted.ensureDeferred
async def test_a_drone_fetches_over_https_only_from_whom_it_trusts(
    service: Service, git: Git, authorities: Authorities, tmp_path: Path
) -> None:
    work = await git.repository()
    await git(work, *trusting(authorities.trusted), "push", "-q", f"{service.url}/webapp", "master")
    commit = (await git(work, "rev-parse", "HEAD")).strip()
    mirror, url = tmp_path / "mirror", f"{service.url}/webapp"
    for roots in (authorities.other.pem.read_text(), None):
        source = Source(url, "drone", TOKEN, roots)
        with pytest.raises(Unreachable, match="certificate") as caught:
            await deferToThread(fetch, mirror, source, commit, DEADLINE, GitLimits())
        assert TOKEN not in str(caught.value)
    assert not has(mirror, commit)
    source = Source(url, "drone", TOKEN, authorities.trusted.pem.read_text())
    await deferToThread(fetch, mirror, source, commit, DEADLINE, GitLimits())
    assert has(mirror, commit)
