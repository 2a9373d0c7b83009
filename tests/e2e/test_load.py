"""The load generator and the judgement of it, against apps without routers: what goes wrong is found."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.judging import Story
from tests.e2e.load import Record, Running
from tests.e2e.waiting import until

APP = Path(__file__).parent / "deployed" / "app.py"
EITHER = frozenset({"v0", "v1"})


class Servers:
    """Two apps in the place of two routers."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.addresses = [self._start(number) for number in range(2)]

    def _start(self, number: int) -> str:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environment = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RELEASE": f"v{number}",
            "COMMIT": "c",
            "PROCESS_ID": "p",
        }
        self.processes.append(subprocess.Popen(["python3", "-S", "-E", str(APP)], env=environment))
        until(lambda: self._listens(port), "the app listens")
        return f"127.0.0.1:{port}"

    @staticmethod
    def _listens(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


def test_a_good_app_that_is_told_to_end_fails_no_request(servers: Servers, tmp_path: Path) -> None:
    story = Story(EITHER)
    load = Running(tmp_path, "x", servers.addresses)
    try:
        load.until_asked(50)
        with story.deed("end", router=0):
            servers.processes[0].terminate()
            servers.processes[0].wait()
        # From here on the refusals are somebody's fault.
        load.until_asked(30)
        records = load.end()
    finally:
        load.drop()
    assert {(record.loop, record.method) for record in records} == {
        ("closed", "GET"),
        ("open", "GET"),
        ("open", "POST"),
    }
    assert all(record.worked for record in records)
    faults = story.faults(records)
    assert faults
    assert all("nothing was done to the router" in fault for fault in faults)
    assert story._wrong(records[0]) == ""
    with pytest.raises(AssertionError, match="s from 'end'"):
        story.judge(records)


def record(start: float, release: str = "v1", method: str = "GET", error: str = "", said: str = "v1") -> Record:
    answer = {"release": release, "said": said}
    return Record("open", method, start, 0, start + 0.5, 0 if error else 200, answer, error)


def test_the_judge_knows_what_had_weight_when() -> None:
    story = Story(frozenset({"v1"}))
    with story.deed("route set") as deed:
        deed.releases = frozenset({"v2"})
    (deed.begun, deed.ended) = (10.0, 11.0)
    assert story.allowed(record(9.0)) == {"v1"}
    assert story.allowed(record(9.7)) == {"v1", "v2"}
    assert story.allowed(record(10.9)) == {"v1", "v2"}
    assert story.allowed(record(11.1)) == {"v2"}
    assert len(story.faults([record(11.1), record(10.9), record(9.0, "v2", said="v2")])) == 2


def test_the_judge_forgives_only_a_post_at_a_kill() -> None:
    story = Story(frozenset({"v1"}))
    with story.deed("kill") as deed:
        deed.kills.append(10.0)
    assert story.faults([record(9.8, method="POST", error="torn"), record(10.01, method="POST", error="torn")]) == []
    assert len(story.faults([record(9.8, error="torn"), record(10.2, method="POST", error="torn")])) == 2
    assert len(story.faults([record(9.8, said="v2")])) == 1
