"""Two drones on one host, and programs that bind whatever they like: no port is given twice, or taken for another's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SOAK = bool(os.environ.get("DEPLOYD_SOAK"))
ROUNDS = 10_000 if SOAK else 500
QUARANTINE = 0.2
# Below the ports that the kernel takes for connections, above those of other tests.
FIRST = 30000 + os.getpid() % 13 * 200
SHARED = 120


class Program:
    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.integration.port_process", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def ready(self) -> None:
        assert self._stdout.readline() == "\n"

    def go(self) -> None:
        """A drone begins, a foreigner ends."""
        self._stdin.write("\n")
        self._stdin.flush()

    def result(self) -> Any:
        return json.loads(self._stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


@pytest.fixture(scope="module")
def results() -> Any:
    """What two drones with overlapping ranges and two foreigners did beside each other."""
    drones = [
        Program("drone", FIRST + 40 * number, FIRST + 40 * number + SHARED, ROUNDS // 2, QUARANTINE, number)
        for number in range(2)
    ]
    foreigners = [Program("foreign", FIRST, FIRST + SHARED + 40, number) for number in range(2)]
    try:
        for program in [*drones, *foreigners]:
            program.ready()
        for drone in drones:
            drone.go()
        done = [drone.result() for drone in drones]
        for foreigner in foreigners:
            foreigner.go()
        yield done, [foreigner.result() for foreigner in foreigners]
    finally:
        for program in [*drones, *foreigners]:
            program.close()


def test_every_round_is_run_and_meets_the_others(results: Any) -> None:
    drones, foreigners = results
    assert sum(drone["counts"]["given"] for drone in drones) >= ROUNDS // 2 * 2
    assert all(len(foreigner["uses"]) > ROUNDS / 100 for foreigner in foreigners)
    shared = [{use[0] for use in drone["uses"]} for drone in drones]
    assert len(shared[0] & shared[1]) > 5


def test_no_port_is_given_to_two_at_once_or_to_another_before_it_has_rested(results: Any) -> None:
    uses = [
        (given, end, number, who, again)
        for who, drone in enumerate(results[0])
        for number, _, given, end, again in drone["uses"]
    ]
    last: dict[int, tuple[float, int]] = {}
    for given, end, number, who, again in sorted(uses):
        ended, before = last.get(number, (0.0, who))
        rest = 0.0 if again and before == who else QUARANTINE
        assert given >= ended + rest, (number, who, before, given - ended)
        last[number] = (end, who)


def test_no_port_is_given_while_a_stranger_holds_it(results: Any) -> None:
    """But for one that came after it was tested: the app meets it, and custody sees it."""
    drones, foreigners = results
    foreign: dict[int, list[tuple[float, float]]] = {}
    for foreigner in foreigners:
        for number, since, until in foreigner["uses"]:
            foreign.setdefault(number, []).append((since, until))
    for drone in drones:
        for number, asked, given, _, _ in drone["uses"]:
            for since, until in foreign.get(number, ()):
                assert not (since < asked and until > given), (number, asked, given, since, until)


def test_custody_is_never_mistaken(results: Any) -> None:
    for drone in results[0]:
        assert drone["wrong"] == []
