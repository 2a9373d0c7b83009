"""What a client that is not git, or not kind, gets over HTTP."""

from __future__ import annotations

import base64
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from deployd.git.limits import GitLimits
from tests.compat.service import SECRET, TOKEN, Git, Service
from tests.git import forge
from tests.git.forge import ZERO, Objects

RECEIVE, UPLOAD = "git-receive-pack", "git-upload-pack"


class Wire(Protocol):
    """A bare connection: collects what comes; ``closed`` fires with all of it when the other side hangs up."""

    def __init__(self) -> None:
        self.data = b""
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: object) -> None:
        self.closed.callback(self.data)


def head(method: str, path: str, password: str | None = SECRET, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hub", "Connection: close"]
    if password is not None:
        lines.append("Authorization: Basic " + base64.b64encode(f"x:{password}".encode()).decode())
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def wire(service: Service) -> Wire:
    return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", service.port.getHost().port), Wire())


async def ask(service: Service, request: bytes) -> tuple[int, bytes, bytes]:
    """(status, headers, body) of the answer to one request on its own connection."""
    connection = await wire(service)
    connection.transport.write(request)
    answer = await connection.closed
    headers, _, body = answer.partition(b"\r\n\r\n")
    return int(headers.split(b" ", 2)[1]) if headers else 0, headers, body


def post(path: str, service_name: str, body: bytes, password: str | None = SECRET, **headers: str) -> bytes:
    kind = f"application/x-{service_name}-request"
    every = {"Content_Type": kind, "Content_Length": str(len(body)), **headers}
    return head("POST", path, password, **every) + body


@pytest_twisted.async_yield_fixture
async def webapp(service: Service) -> AsyncIterator[str]:
    """An app with one commit; the fixture is its tip."""
    objects = Objects()
    tip = objects.commit()
    status, _, body = await ask(
        service,
        post("/webapp/git-receive-pack", RECEIVE, forge.push([("refs/heads/master", ZERO, tip)], objects.pack())),
    )
    assert status == 200
    assert b"ok refs/heads/master" in body
    yield tip


@pytest_twisted.ensureDeferred
async def test_without_the_secret_nothing_is_told_apart(service: Service, webapp: str) -> None:
    """401 for an app that is there and one that is not, for reading and writing; and nothing is created."""
    for password in (None, "", "wrong", SECRET + "x", SECRET[:-1]):
        for app in ("webapp", "nothing"):
            for name in (UPLOAD, RECEIVE):
                status, headers, _ = await ask(service, head("GET", f"/{app}/info/refs?service={name}", password))
                assert status == 401
                assert b'basic realm="deployd"' in headers.lower()
                status, _, _ = await ask(service, post(f"/{app}/{name}", name, b"0000", password))
                assert status == 401
    assert service.repositories.apps() == ["webapp"]


@pytest_twisted.ensureDeferred
async def test_a_get_never_creates_and_an_empty_advertisement_is_given_for_a_push(service: Service) -> None:
    """The first POST does."""
    status, _, body = await ask(service, head("GET", f"/fresh/info/refs?service={RECEIVE}"))
    assert status == 200
    assert b"capabilities^{}" in body
    status, _, _ = await ask(service, head("GET", f"/fresh/info/refs?service={UPLOAD}"))
    assert status == 404
    assert service.repositories.apps() == []


@pytest_twisted.ensureDeferred
async def test_a_first_push_that_fails_leaves_no_app(service: Service) -> None:
    """Damaged packs and garbage create nothing."""
    for body in (b"garbage", b"0000", forge.push([("refs/heads/m", ZERO, "1" * 40)], b"PACK")):
        await ask(service, post("/team/fresh/git-receive-pack", RECEIVE, body))
    assert service.repositories.apps() == []
    assert list(service.repositories.root.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_only_gits_own_paths_services_methods_and_types_are_served(service: Service, webapp: str) -> None:
    """Everything else gets a code that says why."""
    for path, expected in (
        ("/", 404),
        ("/webapp", 404),
        ("/webapp/HEAD", 404),
        ("/webapp/objects/info/packs", 404),
        ("/webapp/config", 404),
        ("/webapp/info/refs", 403),
        ("/webapp/info/refs?service=git-evil", 403),
        ("/webapp/info/refs?service=git-upload-archive", 403),
        (f"/webapp/info/refs?service={UPLOAD}&service={RECEIVE}", 403),
        (f"/../webapp/info/refs?service={UPLOAD}", 404),
        (f"/%2e%2e/webapp/info/refs?service={UPLOAD}", 404),
        (f"/..%2fwebapp/info/refs?service={UPLOAD}", 404),
        (f"//etc/info/refs?service={UPLOAD}", 404),
        (f"/a%00b/info/refs?service={UPLOAD}", 404),
        (f"/{'x' * 300}/info/refs?service={UPLOAD}", 404),
        (f"/-rf/info/refs?service={UPLOAD}", 404),
        (f"/%ff/info/refs?service={UPLOAD}", 404),
        ("/webapp/git-upload-pack", 405),
        (f"/webapp.git/info/refs?service={UPLOAD}", 200),
    ):
        status, _, body = await ask(service, head("GET", path))
        assert status == expected, path
        assert status == 200 or body.count(b"\n") == 1
    for kind in ("text/plain", "application/x-www-form-urlencoded", f"application/x-{UPLOAD}-request; charset=x", ""):
        status, _, _ = await ask(service, post("/webapp/git-receive-pack", RECEIVE, b"0000", Content_Type=kind))
        assert status == 415
    status, _, _ = await ask(service, post(f"/webapp/info/refs?service={UPLOAD}", UPLOAD, b""))
    assert status == 405


@pytest_twisted.ensureDeferred
async def test_garbage_after_login_is_a_bad_request(service: Service, webapp: str) -> None:
    """One sentence, whatever it is; the service goes on."""
    want = f"want {webapp} side-band-64k thin-pack ofs-delta\n".encode()
    line = forge.pktlines.line
    for name, body in (
        (RECEIVE, b"garbage"),
        (RECEIVE, os.urandom(1000)),
        (UPLOAD, b"garbage"),
        (UPLOAD, os.urandom(1000)),
        (UPLOAD, line(b"have " + webapp.encode())),
        (UPLOAD, line(want) + line(b"deepen x") + b"0000"),
        (UPLOAD, line(want) + line(b"deepen 0") + b"0000"),
        (UPLOAD, line(want) + line(b"deepen -1") + b"0000"),
        (UPLOAD, line(f"want {webapp}\n".encode()) + b"0000" + line(b"done\n")),
        (UPLOAD, line(want) + b"0000" + line(b"frob\n")),
    ):
        status, _, answer = await ask(service, post(f"/webapp/{name}", name, body))
        assert status == 400, (body, answer)
        assert answer.count(b"\n") == 1
    status, _, answer = await ask(
        service, post(f"/webapp/{UPLOAD}", UPLOAD, line(want.replace(webapp.encode(), b"2" * 40)) + b"0000")
    )
    assert b"ERR " in answer
    odd = head("GET", f"/webapp/info/refs?service={UPLOAD}", Git_Protocol="odd").replace(b"odd", b"\xff:version=2")
    assert b"version 2" in (await ask(service, odd))[2]


@pytest_twisted.ensureDeferred
async def test_a_person_with_a_drones_token_or_name_sees_no_more(service: Service, webapp: str) -> None:
    """The token is for the user drone; the secret never shows deployed commits."""
    service.repositories.keep("webapp", webapp)
    for user, password, expected in (("drone", TOKEN, True), ("drone", SECRET, False), ("x", TOKEN, None)):
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        request = head("GET", f"/webapp/info/refs?service={UPLOAD}", None, Authorization=f"Basic {login}")
        status, _, body = await ask(service, request)
        assert (status == 200) is (expected is not None)
        assert (b"refs/deploy/" in body) is (expected is True)
    login = base64.b64encode(f"drone:{TOKEN}".encode()).decode()
    request = head("GET", f"/webapp/info/refs?service={RECEIVE}", None, Authorization=f"Basic {login}")
    assert (await ask(service, request))[0] == 401


@pytest_twisted.ensureDeferred
async def test_gzip_bodies_are_read_within_a_bound(service: Service, webapp: str) -> None:
    """A right one works; a damaged, endless or foreign one is refused."""
    body = forge.push([("refs/heads/b", ZERO, webapp)], forge.pack([]))
    packed = gzip.compress(body)
    for content, encoding, right in (
        (packed, "gzip", True),
        (packed[:-9], "gzip", False),
        (packed + b"junk", "gzip", False),
        (b"junk", "gzip", False),
        (packed, "br", False),
    ):
        request = post("/webapp/git-receive-pack", RECEIVE, content, Content_Encoding=encoding)
        status, _, answer = await ask(service, request)
        assert (status == 200 and b"ok refs" in answer) if right else (status == 400 or b"ng refs" in answer)
    bomb = gzip.compress(b"0" * (64 << 20))
    status, _, _ = await ask(service, post("/webapp/git-upload-pack", UPLOAD, bomb, Content_Encoding="gzip"))
    assert status == 400


@pytest_twisted.ensureDeferred
async def test_bodies_are_bounded_as_they_arrive(service: Service) -> None:
    """A stranger may send 64 KiB, whether said before or not; a pusher what the limits say."""
    stranger = await ask(service, post("/webapp/git-receive-pack", RECEIVE, b"x" * 70_000, "wrong"))
    assert stranger[0] == 413
    connection = await wire(service)
    kind = f"application/x-{RECEIVE}-request"
    connection.transport.write(
        head("POST", "/webapp/git-receive-pack", None, Content_Type=kind, Transfer_Encoding="chunked")
    )
    connection.transport.write(b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(8)))
    assert b" 413 " in await connection.closed
    form = post("/webapp/git-receive-pack", RECEIVE, b"x" * 70_000, Content_Type="multipart/form-data; boundary=x")
    assert (await ask(service, form))[0] == 413


@pytest_twisted.ensureDeferred
async def test_a_pusher_over_the_limit_is_told(tmp_path: Path) -> None:
    """The limit on a pack holds on the wire and after it."""
    small = Service(tmp_path / "hub", GitLimits(pack_bytes=1000, stranger_bytes=100))
    small.start()
    with capturedLogs() as logged:
        assert (await ask(small, post("/webapp/git-receive-pack", RECEIVE, b"x" * 2000)))[0] == 413
    assert [event["limit"] for event in logged if event.get("path") == "/webapp/git-receive-pack"] == [1000]
    objects = Objects()
    tip = objects.commit(objects.tree(("100644", b"f", objects.blob(os.urandom(900)))))
    body = forge.push([("refs/heads/m", ZERO, tip)], objects.pack())
    status, _, answer = await ask(small, post("/webapp/git-receive-pack", RECEIVE, body))
    assert status == 413 or b"more than 1000 bytes" in answer
    assert small.repositories.apps() == []
    await small.stop()


@pytest_twisted.ensureDeferred
async def test_a_push_for_which_there_is_no_place_is_told_so_by_git(service: Service, git: Git) -> None:
    """However much more of it comes: git reads no answer before it has sent all."""
    work = await git.repository(files={f"f{number}": os.urandom(500_000).hex() for number in range(8)})
    spool = service.site.spool
    directory, most = spool.directory, spool.most
    full = "the hub could not store it: too much is being sent to it at once, try again in a moment"
    for spool.directory, spool.most, reason in (
        (str(service.root / "nosuch"), most, "the hub could not store it: no such file or directory"),
        (directory, 1 << 20, full),
    ):
        said = await git(work, "push", f"{service.url}/webapp", "master", ok=False)
        assert f"remote: {reason}" in said
        assert service.repositories.apps() == []
        assert service.leftovers() == []
    spool.most = most
    await git(work, "push", f"{service.url}/webapp", "master")
    spool.most = 1
    status, _, answer = await ask(service, post("/webapp/git-upload-pack", UPLOAD, b"0000"))
    assert (status, answer, spool.used) == (503, full.encode() + b"\n", 0)


@pytest_twisted.ensureDeferred
async def test_clients_that_do_not_read_hold_no_worker(service: Service) -> None:
    """Others fetch and push meanwhile; when they have gone, nothing of them is left."""
    objects = Objects()
    tip = objects.commit(objects.tree(("100644", b"big", objects.blob(os.urandom(20 << 20)))))
    pushed = forge.push([("refs/heads/master", ZERO, tip)], objects.pack())
    assert (await ask(service, post("/webapp/git-receive-pack", RECEIVE, pushed)))[0] == 200
    want = forge.pktlines.line(f"want {tip} side-band-64k thin-pack ofs-delta\n".encode())
    request = post("/webapp/git-upload-pack", UPLOAD, want + b"0000" + forge.pktlines.line(b"done\n"))
    lazy = [await wire(service) for _ in range(8)]
    for connection in lazy:
        connection.transport.pauseProducing()
        connection.transport.write(request)
    quick = await wire(service)
    quick.transport.write(request)
    assert len(await quick.closed) > 20 << 20
    assert (await ask(service, post("/other/git-receive-pack", RECEIVE, pushed)))[0] == 200
    figures = service.pool.figures()
    assert (figures["heavy_jobs"], figures["heavy_waiting"]) == (0, 0)
    while service.readers() < len(lazy):
        await deferLater(reactor, 0.01)
    for connection in lazy:
        connection.transport.abortConnection()
    while service.readers():
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_a_pack_that_somebody_else_made_is_served(service: Service) -> None:
    """Its chart is made first, by a worker for large work."""
    objects = Objects()
    tip = objects.commit(objects.tree(("100644", b"big", objects.blob(os.urandom(9 << 20)))))
    pushed = forge.push([("refs/heads/master", ZERO, tip)], objects.pack())
    assert (await ask(service, post("/webapp/git-receive-pack", RECEIVE, pushed)))[0] == 200
    other = service.repositories.path("other")
    service.repositories.path("webapp").rename(other)
    for chart in (other / "deployd").glob("*.chart"):
        chart.unlink()
    want = forge.pktlines.line(f"want {tip} side-band-64k thin-pack ofs-delta\n".encode())
    request = post("/other/git-upload-pack", UPLOAD, want + b"0000" + forge.pktlines.line(b"done\n"))
    _, _, answer = await ask(service, request)
    assert len(answer) > 9 << 20
    assert list((other / "deployd").glob("*.chart"))


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_early_costs_nothing(service: Service, webapp: str) -> None:
    """In the middle of a fetch, and in the middle of its own body."""
    for cut in (20, 200):
        connection = await wire(service)
        connection.transport.write(post("/webapp/git-receive-pack", RECEIVE, b"x" * 5000)[:cut])
        connection.transport.abortConnection()
        await connection.closed
    assert (await ask(service, head("GET", f"/webapp/info/refs?service={UPLOAD}")))[0] == 200


@pytest_twisted.ensureDeferred
async def test_a_body_that_drips_is_cut_off(tmp_path: Path) -> None:
    """A stranger has little time, however steadily the bytes come."""
    service = Service(tmp_path / "hub", GitLimits(stranger_seconds=0.2))
    service.start()
    connection = await wire(service)
    connection.transport.write(post("/webapp/git-receive-pack", RECEIVE, b"x" * 5000, None)[:-4000])
    assert await connection.closed == b""
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_too_many_requests_at_once_are_told_to_come_again(tmp_path: Path) -> None:
    """503, not a queue without end: of all, and of one address."""
    for limits, said in ((GitLimits(requests=0), b"the hub has"), (GitLimits(client_requests=0), b"from your address")):
        service = Service(tmp_path / "hub", limits)
        service.start()
        status, _, body = await ask(service, head("GET", f"/webapp/info/refs?service={RECEIVE}"))
        assert (status, said in body) == (503, True)
        await service.stop()


@pytest_twisted.ensureDeferred
async def test_expect_100_continue_is_answered(service: Service, webapp: str) -> None:
    """As curl asks before a large body."""
    body = forge.push([("refs/heads/b", ZERO, webapp)], forge.pack([]))
    request = post("/webapp/git-receive-pack", RECEIVE, body, Expect="100-continue")
    connection = await wire(service)
    connection.transport.write(request[: -len(body)])
    while b"100 Continue" not in connection.data:
        await deferLater(reactor, 0.005)
    connection.transport.write(body)
    assert b"ok refs/heads/b" in await connection.closed


@pytest_twisted.ensureDeferred
async def test_git_serves_the_same_repository_that_the_service_wrote(service: Service, git: Git, webapp: str) -> None:
    """Our files are git's files."""
    path = service.repositories.path("webapp")
    assert webapp in await git(path, "for-each-ref")
    await git(path, "fsck", "--full", "--strict")
    await git(path, "gc", "-q")
    assert service.repositories.head("webapp") == webapp
