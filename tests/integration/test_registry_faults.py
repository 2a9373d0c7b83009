"""Faults of a whole registry, as a process on real sockets: floods, peers that never read, kills, pauses, full disks.

DEPLOYD_SOAK=1 makes each of them several times larger.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from deployd.errors import Busy, DeploydError, Refused
from deployd.model.registration import Registration
from deployd.model.row_change import RowChange
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from deployd.storage.registry_file import TableFile
from deployd.wire.handshake import Hello, Ping
from deployd.wire.lookup import Follow, Query
from deployd.wire.registry import Attach, Publish, Update
from tests.e2e.cluster import Daemon, get
from tests.e2e.waiting import until
from tests.integration.strangers import AmpStranger, Stranger, forget_peak, peak, resident

SOAK = 10 if os.environ.get("DEPLOYD_SOAK") else 1
MEGABYTE = 1 << 20
SECRET = Secret("beep boop")
ROWS = 1000
ANY = {"match": "", "namespace": "", "app": "", "release": ""}
ASKED = ANY | {"meta": {}, "near": "", "wait": 0.0, "after": ""}
OPTIONS = ("--port", "0", "--interface", "127.0.0.1", "--dns-port", "0")


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


@contextmanager
def started(directory: Path, *options: str) -> Iterator[Daemon]:
    daemon = Daemon("registry", directory / "registry", [*OPTIONS, *options], [], "beep boop")
    try:
        yield daemon.start()
        if daemon.running:
            daemon.stop()
        assert "Traceback" not in daemon.text(), daemon.text()[-3000:]
    finally:
        if daemon.running:
            daemon.kill()


class Owner:
    """One that is attached, and has published what it had."""

    def __init__(self, daemon: Daemon, identity: Identity | None = None, rows: tuple[Registration, ...] = ()) -> None:
        self.peer = AmpStranger(daemon.amp).log_in("register", SECRET, identity or Identity.create())
        self.peer.ask(Attach, name="owner", credential=b"", advertise="")
        parts = [rows[start : start + 50] for start in range(0, len(rows), 50)] or [()]
        for part, some in enumerate(parts):
            self.peer.ask(Publish, part=part, parts=len(parts), rows=some)

    def put(self, *rows: Registration) -> int:
        return int(self.peer.ask(Update, put=rows, free=())["revision"].number)


def row(name: str, port: int = 1, **more: Any) -> Registration:
    return Registration(name, "space", "http", "", port, **more)


def ids(daemon: Daemon) -> set[str]:
    found: set[str] = set()
    with AmpStranger(daemon.amp).log_in("read", None) as reader:
        after = ""
        while True:
            page = reader.ask(Query, **(ASKED | {"after": after}))
            found |= {one["id"] for one in page["rows"]}
            after = page["next"]
            if not after:
                return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One with ROWS rows, whose owner stays; for all tests that leave it as it is."""
    # The owner answers no ping.
    with started(tmp_path_factory.mktemp("shared"), "--timeout", "900") as daemon:
        owner = Owner(daemon)
        for start in range(0, ROWS, 100):
            owner.put(*[row(f"r{n}", meta={"k": "v" * 200}) for n in range(start, start + 100)])
        yield daemon


def serves(daemon: Daemon) -> None:
    """All ports answer, and a row comes and goes."""
    owner = Owner(daemon, rows=(row("probe"),))
    assert "probe" in ids(daemon)
    assert get(daemon.http, "/healthz")[0] == 200
    assert asked_by_dns(daemon).startswith(QUESTION[:2])
    owner.peer.ask(Update, put=(), free=("probe",))
    owner.peer.reset()


QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04http\x05space\x07deployd\x00\x00\x01\x00\x01"


def asked_by_dns(daemon: Daemon) -> bytes:
    host, _, port = dns(daemon).rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(QUESTION, (host, int(port)))
        return asking.recv(4096)


def dns(daemon: Daemon) -> str:
    return str(daemon.addresses()["dns"])


def half_a_hello() -> bytes:
    box = AmpStranger.box(
        AmpStranger.__new__(AmpStranger), Hello, oldest=1, newest=2, program="x", purpose="read", nonce=bytes(32)
    )
    return box[: len(box) // 2]


HALVES: dict[str, tuple[Callable[[Daemon], str], bytes]] = {
    "amp": (lambda daemon: daemon.amp, half_a_hello()),
    "http": (lambda daemon: daemon.http, b"GET /v1/ports HTTP/1.1\r\nHost: x\r\nX-Half: "),
    "dns": (dns, b"\x00\x30" + QUESTION[:9]),
}


def test_a_flood_of_those_who_say_nothing_or_half_a_word(registry: Daemon) -> None:
    """On all ports at once; each costs some kilobytes until its time is over, and nobody else any time."""
    count = 200 * SOAK if SOAK == 1 else 450
    before = resident(pid_of(registry))
    with ExitStack() as strangers:
        for address, half in HALVES.values():
            for number in range(count):
                stranger = strangers.enter_context(Stranger(address(registry)))
                if number % 2:
                    assert stranger.send(half)
        # And those who have said hello, and nothing more.
        for _ in range(count):
            strangers.enter_context(AmpStranger(registry.amp).log_in("read", None))
        serves(registry)
        assert resident(pid_of(registry)) - before < 4 * count * 32 * 1024 + 8 * MEGABYTE
    serves(registry)


def test_peers_that_never_read_while_changes_flow(registry: Daemon) -> None:
    """Watches over HTTP and AMP, questions over all that answers: the registry holds little for each of them.

    One that reads sees every change meanwhile.
    """
    count = 25 * SOAK
    owner = Owner(registry)
    seen: list[int] = []
    before = resident(pid_of(registry))
    forget_peak(pid_of(registry))
    with ExitStack() as strangers:
        honest = strangers.enter_context(AmpStranger(registry.amp).log_in("read", None))
        position = honest.ask(Query, **ASKED)["revision"]
        for _ in range(count):
            watching = strangers.enter_context(Stranger(registry.http))
            watching.send(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
            asking = strangers.enter_context(Stranger(registry.http))
            asking.send_while_taken(b"GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n" * 500, 0.01)
            following = strangers.enter_context(AmpStranger(registry.amp).log_in("read", None))
            following.send(b"".join(following.box(Follow, position="", wait=30.0, **ANY) for _ in range(50)))
            resolving = strangers.enter_context(Stranger(dns(registry)))
            resolving.send_while_taken((len(QUESTION).to_bytes(2, "big") + QUESTION) * 5000, 0.01)
        at = f"{position.epoch}.{position.number}"
        for turn in range(1, 21):
            last = owner.put(*[row(f"w{n}", turn, meta={"k": "v" * 300}) for n in range(100)])
            while len(seen) < 100 * turn:
                page = honest.ask(Follow, position=at, wait=10.0, **ANY)
                seen += [line["revision"] for line in page["lines"]]
                at = page["position"]
        assert seen == list(range(position.number + 1, last + 1))
        serves(registry)
        # Two of the four kinds have the transport's buffer, and what was written last; so have pipelined requests.
        assert peak(pid_of(registry)) - before < 4 * count * 256 * 1024 + 16 * MEGABYTE
    owner.peer.ask(Publish, part=0, parts=1, rows=())
    owner.peer.reset()


def test_a_hundred_thousand_questions_whose_answers_nobody_reads(registry: Daemon) -> None:
    """Large answers stop it from being read; so it gets no further, and its memory is given back."""
    before = resident(pid_of(registry))
    forget_peak(pid_of(registry))
    with AmpStranger(registry.amp).log_in("read", None) as stranger:
        asked = stranger.box(Query, **ASKED) * 100_000
        # What the kernel holds of it, on both ends, and a little more.
        assert stranger.send_while_taken(asked, 0.1) < len(asked) / 2
        serves(registry)
        assert peak(pid_of(registry)) - before < 16 * MEGABYTE


def test_a_peer_that_asks_without_end_delays_nobody(registry: Daemon) -> None:
    """Thousands of questions that take long and whose answers are short, all at once, from several peers.

    Whoever asks a hundred times meanwhile is answered long before them. Where each piece of what was read from them was
    answered in one go, each of these took seconds.
    """
    count, answered = 10_000, [0]
    ranges = " || ".join(f">{900 + n}.0.0" for n in range(13))
    with ExitStack() as ended:
        peers = [ended.enter_context(AmpStranger(registry.amp).log_in("read", None)) for _ in range(3)]
        for peer in peers:
            asked = peer.box(Query, **(ASKED | {"match": f"http@{ranges}", "meta": {"k": {"deep": [1]}}})) * count
            for work in (lambda peer=peer, asked=asked: peer.send(asked), lambda peer=peer: drained(peer, answered)):
                threading.Thread(target=work, daemon=True).start()
        until(lambda: answered[0], "they are answered")
        other = ended.enter_context(AmpStranger(registry.amp).log_in("read", None))
        for _ in range(100):
            other.ask(Ping)
        assert answered[0] < len(peers) * count / 2
        for peer in peers:
            peer.reset()
    serves(registry)


def drained(stranger: Stranger, answered: list[int]) -> None:
    """Read all, and count the answers, but for those that come in two pieces."""
    try:
        while piece := stranger.receive():
            answered[0] += piece.count(b"_answer")
    except OSError:
        pass


def test_no_file_descriptor_left(tmp_path: Path) -> None:
    """Whoever is connected is served on, who comes is turned away, and when there is room again all is well."""
    with started(tmp_path) as daemon, ExitStack() as strangers:
        owner = Owner(daemon)
        pid = pid_of(daemon)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
        for number in range(200):
            stranger = strangers.enter_context(Stranger(daemon.amp if number % 2 else daemon.http))
            stranger.send(b"\x00")
        for number in range(20):
            owner.put(*[row(f"r{n}", number + 1, meta={"k": "v" * 1000}) for n in range(50)])
        strangers.close()
        until(lambda: is_answered(daemon), "it serves again")
        serves(daemon)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def is_answered(daemon: Daemon) -> bool:
    try:
        return get(daemon.http, "/healthz")[0] == 200
    except OSError:
        return False


def test_what_was_acknowledged_is_there_after_each_kill(tmp_path: Path) -> None:
    """etcd-io/etcd#14370 and #17780, with kill -9 at any instant."""
    chance = Random(5)
    identity = Identity.create()
    acknowledged: dict[str, int] = {}
    epochs, numbers = set(), [0]
    with started(tmp_path) as daemon:
        for life in range(4 * SOAK):
            rows = tuple(row(name, port) for name, port in acknowledged.items())
            owner = Owner(daemon, identity, rows)
            killing = threading.Timer(chance.uniform(0.01, 0.1), daemon.kill)
            killing.start()
            try:
                for number in range(10**6):
                    # An owner has only so many rows.
                    new = [row(f"r{number % 200}-{n}", life + 1) for n in range(chance.choice([1, 1, 30]))]
                    again = row("again", number + 1)
                    numbers.append(owner.put(*new, again))
                    acknowledged |= {one.id: one.port for one in [*new, again]}
            except (EOFError, OSError):
                pass
            killing.join()
            daemon.start()
            with AmpStranger(daemon.amp).log_in("read", None) as reader:
                revision = reader.ask(Query, **(ASKED | {"match": "none"}))["revision"]
            epochs.add(revision.epoch)
            assert revision.number >= numbers[-1]
            assert set(acknowledged) <= ids(daemon)
    assert len(epochs) == 1
    assert numbers == sorted(set(numbers))


def test_20418_a_registry_that_was_stopped_says_nothing_stale_when_it_goes_on(tmp_path: Path) -> None:
    """etcd-io/etcd#20418, with SIGSTOP: what fell meanwhile is gone for the first who is answered."""
    with started(tmp_path, "--heartbeat", "0.4", "--timeout", "0.8") as daemon:
        owner = Owner(daemon, rows=(row("a"),))
        assert ids(daemon) == {"a"}
        with AmpStranger(daemon.amp).log_in("read", None) as reader:
            owner.peer.reset()
            until(lambda: all(one["marked"] for one in reader.ask(Query, **ASKED)["rows"]), "its link is lost")
            daemon.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
            reader.send(reader.box(Query, **ASKED) * 3)
            # A process that stands still shows nothing that could be waited for: its lease has to end.
            time.sleep(1.0)
            daemon.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
            for _ in range(3):
                assert reader.answer(Query)["rows"] == []


def test_a_disk_that_is_full_loses_nothing_and_is_waited_out(tmp_path: Path) -> None:
    """Nothing may grow any more: readers go on, writers are refused in a sentence, and then all is as it was."""
    with started(tmp_path) as daemon:
        identity = Identity.create()
        owner = Owner(daemon, identity)
        rows = tuple(row(f"r{n}", meta={"k": "v" * 1000}) for n in range(300))
        owner.put(*rows[:20])
        pid = pid_of(daemon)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        acknowledged = 20
        refused: type[Exception] | None = None
        while refused is None:
            try:
                owner.put(*rows[acknowledged : acknowledged + 20])
                acknowledged += 20
            except (DeploydError, EOFError) as error:
                refused = type(error)
        assert refused is Busy
        assert acknowledged < 280
        assert len(ids(daemon)) >= acknowledged
        assert get(daemon.http, "/healthz")[0] == 503
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        again = Owner(daemon, identity, rows[:acknowledged])
        again.put(*rows[acknowledged : acknowledged + 20])
        assert get(daemon.http, "/healthz")[0] == 200
        daemon.kill()
        daemon.start()
        assert ids(daemon) == {one.id for one in rows[: acknowledged + 20]}


def damaged(path: Path, how: str) -> None:
    if how == "garbage":
        path.write_bytes(Random(3).randbytes(50_000))
    elif how == "a newer deployd's":
        run_sql(path, "pragma user_version = 99")
    elif how == "somebody else's":
        path.unlink()
        run_sql(path, "create table other (x)", "pragma user_version = 1")
    elif how == "without its epoch":
        run_sql(path, "delete from meta")
    elif how == "rows that are none":
        run_sql(path, "insert into changes select max(number) + 1, '[0, 0, null]' from changes")
    else:
        path.unlink()
        path.mkdir()


def run_sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


DAMAGES = ["garbage", "a newer deployd's", "somebody else's", "without its epoch", "rows that are none", "a directory"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_table_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, how: str) -> None:
    path = tmp_path / "registry.sqlite"
    saved(path, 3)
    damaged(path, how)
    with pytest.raises(Refused) as refused:
        TableFile(path).open()
    assert "registry.sqlite" in str(refused.value)
    assert "\n" not in str(refused.value)


def saved(path: Path, count: int) -> None:
    file = TableFile(path)
    number = file.open().number
    rows = [row(f"r{n}", n, owner="o", revision=number + n) for n in range(1, count + 1)]
    file.save([RowChange(one.revision, one) for one in rows])
    file.close()


def test_a_disk_that_gives_back_something_else_is_found_out_or_harmless(tmp_path: Path) -> None:
    """Some bytes of the table are others: it is refused in a sentence, or all that is in it are rows."""
    path = tmp_path / "registry.sqlite"
    saved(path, 60)
    chance = Random(7)
    whole = path.read_bytes()
    outcomes = set()
    for _ in range(60 * SOAK):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 40)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        file = TableFile(path)
        try:
            outcomes.add({type(one.id) for one in file.open().rows} <= {str})
        except Refused as error:
            outcomes.add("refused" if "\n" not in str(error) else False)
        file.close()
        for other in tmp_path.iterdir():
            other.unlink()
    assert "refused" in outcomes
    assert False not in outcomes


def test_a_table_that_cannot_be_read_ends_the_registry_with_a_failure(tmp_path: Path) -> None:
    daemon = Daemon("registry", tmp_path / "registry", list(OPTIONS), [], "beep boop")
    daemon.state.mkdir(mode=0o700)
    saved(daemon.state / "registry.sqlite", 3)
    damaged(daemon.state / "registry.sqlite", "without its epoch")
    daemon.launch()
    assert daemon.process is not None
    try:
        assert daemon.process.wait(30) == 1
    finally:
        daemon.kill()
    said = daemon.text()
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("deployd-registry: ") and "registry.sqlite" in line]
    assert daemon.addresses() == {}
