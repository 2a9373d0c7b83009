"""Whatever strangers do to the ports of a real registry and a real hub, both go on serving the others."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen
from twisted.protocols.amp import Command

from deployd.errors import DeploydError
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from deployd.wire.control import AwaitChange, List, Status
from deployd.wire.fleet import Report
from deployd.wire.handshake import Hello, Ping
from deployd.wire.lookup import ListRows
from deployd.wire.registry import Attach, Publish, Update
from tests.e2e.cluster import SECRET, Cluster, get
from tests.integration.strangers import AmpStranger, Stranger, forget_peak, peak, resident

MEGABYTE = 1 << 20
GROWTH = 60 * MEGABYTE
ROWS = 1000
EVERYTHING = {"namespace": "", "app": "", "release": "", "role": "", "after": ""}
APPS = {"kind": "apps", "app": "", "commit": "", "drone": "", "after": ""}
KNOWN = Secret(SECRET)


@frozen
class Target:
    """A port of a daemon; ``session`` is the purpose of a session that a stranger may try to wreck, "" for HTTP."""

    cluster: Cluster
    daemon: str
    session: str

    @property
    def address(self) -> str:
        daemon = self.cluster.daemons[self.daemon]
        return daemon.amp if self.session else daemon.http

    @property
    def pid(self) -> int:
        process = self.cluster.daemons[self.daemon].process
        assert process is not None
        return process.pid

    def logged_in(self) -> AmpStranger:
        return AmpStranger(self.address).log_in(self.session, KNOWN, Identity.create())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A registry that holds ROWS rows, and a hub; one of each for all these tests."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        # The owner of the rows answers no ping.
        made.start_core("--timeout", "900")
        with AmpStranger(made.registry.amp).log_in("register", KNOWN, Identity.create()) as owner:
            owner.ask(Attach, name="owner", credential=b"", advertise="")
            owner.ask(Publish, part=0, parts=1, rows=())
            rows = [Registration(f"row{n}", "space", "http", "", 1000 + n, meta={"k": "v" * 200}) for n in range(ROWS)]
            for start in range(0, ROWS, 100):
                owner.ask(Update, put=tuple(rows[start : start + 100]), free=())
            yield made
    finally:
        made.close()


@pytest.fixture(params=["registry-amp", "registry-http", "hub-amp", "hub-http"])
def target(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Target]:
    """Each port in turn; afterwards everybody is still served, and no daemon has had an error."""
    daemon, _, kind = request.param.partition("-")
    session = {"registry": "register", "hub": "deploy"}[daemon] if kind == "amp" else ""
    yield Target(cluster, daemon, session)
    serve(cluster)


@pytest.fixture(params=["registry", "hub"])
def amp_target(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Target]:
    yield Target(cluster, request.param, {"registry": "register", "hub": "deploy"}[request.param])
    serve(cluster)


def serve(cluster: Cluster) -> None:
    """Assert that both daemons live, answer on both ports, have lost nothing, and have logged no error."""
    for daemon in cluster.daemons.values():
        assert daemon.running
        assert "Traceback" not in daemon.text(), daemon.text()[-3000:]
        assert SECRET not in daemon.text()
        assert get(daemon.http, "/healthz")[0] == 200
    with AmpStranger(cluster.registry.amp).log_in("read", None) as reader:
        assert reader.ask(ListRows, **EVERYTHING)["rows"]
    with AmpStranger(cluster.hub.amp).log_in("deploy", KNOWN) as person:
        assert person.ask(List, **APPS)["rows"] == []


GARBAGE = {
    "random": random.Random(2).randbytes(20_000),
    "nul": bytes(65536),
    "ones": b"\xff" * 65536,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "old-http": b"GET /v1/ports\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "dnode": b'null\n{"method":"methods","arguments":[null]}\n["register","x"]\n["free","w1"]\n',
    "amp-empty-box": b"\x00\x00",
    "amp-no-command": b"\x00\x04_ask\x00\x011\x00\x00",
    "amp-stray-answer": b"\x00\x07_answer\x00\x0299\x00\x00",
    "amp-stray-error": b"\x00\x06_error\x00\x0299\x00\x0b_error_code\x00\x01X\x00\x00",
    "chunked-nonsense": b"POST /x/git-receive-pack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two-lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "negative-length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "huge-length": b"POST /x/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "bad-escape": b"GET /%00/%ff/..%2f..%2fetc/passwd?%zz=%c0%80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad-login": b"GET /x/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic !!\r\n\r\n",
}


def test_garbage_costs_its_own_connection(target: Target) -> None:
    """It is refused or not understood, whether its sender then waits, leaves, or resets the connection."""
    for garbage in GARBAGE.values():
        with Stranger(target.address) as stranger:
            stranger.send(garbage)
            stranger.send(b"\r\n\r\n")
            stranger.shut()
            stranger.until_hung_up()
        with Stranger(target.address) as stranger:
            stranger.send(garbage)
            stranger.reset()


def test_garbage_after_the_login_costs_its_own_connection(amp_target: Target) -> None:
    for garbage in GARBAGE.values():
        with amp_target.logged_in() as stranger:
            stranger.send(garbage)
            stranger.shut()
            stranger.until_hung_up()


def test_a_megabyte_without_an_end_is_not_kept(target: Target) -> None:
    """Of a box on AMP, of a first line, a header and a body on HTTP: the server hangs up long before its end."""
    beginnings = [b""]
    if target.session:
        beginnings = [b"\x00\x04_ask\x00\x011\x00\x08_command\x00\x05hello" + b"\x00\x01k\xff\xff"]
    else:
        head = b"POST /x/git-receive-pack HTTP/1.1\r\nHost: x\r\n"
        beginnings += [head + b"X: ", head + b"Content-Length: 1000000000\r\n\r\n", head + CHUNKED]
    before = resident(target.pid)
    forget_peak(target.pid)
    with ExitStack() as connections:
        strangers = [connections.enter_context(Stranger(target.address)) for _ in beginnings]
        for stranger, beginning in zip(strangers, beginnings, strict=True):
            stranger.send(beginning)
            stranger.send(b"x" * MEGABYTE)
        for stranger in strangers:
            assert b"200 OK" not in stranger.until_hung_up()
    assert peak(target.pid) - before < 8 * MEGABYTE


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"


def test_a_box_that_never_ends_after_the_login_is_not_kept(amp_target: Target) -> None:
    piece = b"\x00\x05large\xff\xff" + b"x" * 65535
    before = resident(amp_target.pid)
    forget_peak(amp_target.pid)
    with amp_target.logged_in() as stranger:
        taken = stranger.send_while_taken(piece * 500)
        stranger.until_hung_up()
    assert taken < len(piece) * 500
    assert peak(amp_target.pid) - before < 8 * MEGABYTE


def test_a_reset_before_in_and_after_the_login_costs_its_own_connection(amp_target: Target) -> None:
    for _ in range(20):
        Stranger(amp_target.address).reset()
        stranger = AmpStranger(amp_target.address)
        nonce = os.urandom(32)
        stranger.ask(Hello, oldest=1, newest=2, program="x", purpose=amp_target.session, nonce=nonce)
        stranger.reset()
        amp_target.logged_in().reset()
        # In the middle of a box, and with questions that wait for their answer.
        with amp_target.logged_in() as stranger:
            asked = stranger.box(Ping) + stranger.box(List, **APPS)
            stranger.send(asked * 10 + b"\x00\x04_ask")
            stranger.reset()


def test_five_hundred_idle_connections_are_borne(target: Target) -> None:
    """Silent ones, ones that begin a word, and where there are logins, half of those."""
    begun = b"\x00" if target.session else b"GET /"
    with ExitStack() as connections:
        for number in range(500):
            stranger = connections.enter_context(Stranger(target.address))
            if number % 2:
                assert stranger.send(begun)
        serve(target.cluster)


def questions(target: Target, count: int) -> tuple[Stranger, bytes]:
    """A peer that may ask, and ``count`` requests for the largest thing that there is."""
    if not target.session:
        path = b"/v1/services?match=http" if target.daemon == "registry" else b"/"
        return Stranger(target.address), (b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path) * count
    stranger = target.logged_in()
    command: type[Command] = ListRows if target.daemon == "registry" else Status
    arguments = EVERYTHING if target.daemon == "registry" else {}
    return stranger, stranger.box(command, **arguments) * count


def test_a_peer_that_never_reads_its_answers_soon_gets_no_more(target: Target) -> None:
    """Five of them ask ten thousand times each."""
    before = resident(target.pid)
    forget_peak(target.pid)
    with ExitStack() as connections:
        for _ in range(5):
            stranger, asked = questions(target, 10_000)
            connections.enter_context(stranger)
            stranger.send_while_taken(asked, 0.05)
        serve(target.cluster)
        assert peak(target.pid) - before < GROWTH


def test_a_peer_that_reads_late_gets_every_answer(amp_target: Target) -> None:
    """What was held back while it did not read is answered then."""
    with amp_target.logged_in() as stranger:
        command, arguments = (ListRows, EVERYTHING) if amp_target.daemon == "registry" else (Status, {})
        count = 300
        assert stranger.send(b"".join(stranger.box(command, **arguments) for _ in range(count)))
        serve(amp_target.cluster)
        answers = [stranger.answer(command) for _ in range(count)]
    assert len(answers) == count
    assert all(answer == answers[0] for answer in answers)


def test_pipelined_http_requests_are_all_answered_to_a_client_that_reads_late(cluster: Cluster) -> None:
    count = 100
    with Stranger(cluster.registry.http) as stranger:
        asked = b"GET /v1/services?match=http HTTP/1.1\r\nHost: x\r\n\r\n" * (count - 1)
        assert stranger.send(asked + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        serve(cluster)
        received = stranger.until_hung_up()
    assert received.count(b"HTTP/1.1 200 OK\r\n") == count


def now(stranger: AmpStranger) -> int:
    """The hub's revision, from which on to wait."""
    return int(stranger.ask(List, **APPS)["revision"])


def test_a_thousand_questions_that_wait_are_answered_or_refused_as_too_many(cluster: Cluster) -> None:
    with AmpStranger(cluster.hub.amp).log_in("deploy", KNOWN) as stranger:
        revision = now(stranger)
        assert stranger.send(b"".join(stranger.box(AwaitChange, revision=revision, wait=0.5) for _ in range(1000)))
        codes = [stranger.read_box().get(b"_error_code", b"") for _ in range(1000)]
    assert set(codes) == {b"", b"Busy"}
    assert codes.count(b"") >= 8
    serve(cluster)


ROW_LISTS = {
    "nothing": b"",
    "null": b"null",
    "object": b"{}",
    "texts": b'["x"]',
    "null-id": b'[{"id": null}]',
    "number-id": b'[{"id": 7}]',
    "too-deep": b"[" * 30_000 + b"]" * 30_000,
    "not-utf-8": b"\xff",
    "bad-values": b'[{"id":"r","namespace":"../x","role":"http","host":"","port":70000}]',
    "huge-number": b'[{"id":"r","namespace":"x","role":"http","host":"","port":' + b"9" * 5000 + b"}]",
}


@pytest.mark.parametrize("name", list(ROW_LISTS))
def test_wrong_rows_are_refused_in_a_sentence_and_the_session_goes_on(cluster: Cluster, name: str) -> None:
    with AmpStranger(cluster.registry.amp).log_in("register", KNOWN, Identity.create()) as stranger:
        stranger.ask(Attach, name="x", credential=b"", advertise="")
        box = stranger.box(Publish, part=0, parts=1, rows=()).replace(b"\x00\x02[]", _value(ROW_LISTS[name]), 1)
        assert stranger.send(box)
        refusal = stranger.read_box()
        assert refusal[b"_error_code"] in (b"Malformed", b"UsageError")
        assert b"\n" not in refusal[b"_error_description"]
        stranger.ask(Ping)
    serve(cluster)


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1.0, 1e300, 0.0])
def test_no_time_that_is_asked_for_holds_or_breaks_the_hub(cluster: Cluster, wait: float) -> None:
    with AmpStranger(cluster.hub.amp).log_in("deploy", KNOWN) as stranger:
        assert stranger.send(stranger.box(AwaitChange, revision=now(stranger), wait=wait))
        stranger.ask(Ping) if wait > 1 else stranger.answer(AwaitChange)
    serve(cluster)


@pytest.mark.parametrize("part", [(0, 0), (0, -1), (1, 2), (-1, 1), (0, 10**30)])
def test_a_report_in_wrong_parts_is_refused_and_the_session_goes_on(cluster: Cluster, part: tuple[int, int]) -> None:
    with AmpStranger(cluster.hub.amp).log_in("drone", KNOWN, Identity.create()) as stranger:
        with pytest.raises(DeploydError):
            stranger.ask(Report, assignment=Revision("e", 1), part=part[0], parts=part[1], instances=())
        stranger.ask(Ping)
    serve(cluster)


def _value(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
