"""Measurements that need a reactor: each in a process of its own, because a reactor runs once."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

# Whoever measures looks for cycles seldom: that would be measured, too.
COLLECTIONS = (100_000, 20, 10)


def measured(module: str, *arguments: str, deadline: float = 300) -> Any:
    """What ``python -m MODULE ARGUMENTS`` has found out (its ``answer``)."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=deadline, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def answer(measure: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
    """Run ``measure(reactor)`` and print what it returns, as JSON."""
    from twisted.internet import reactor

    from deployd.daemon.clock import monotonic

    gc.set_threshold(*COLLECTIONS)
    clock = monotonic(reactor)
    found: list[Any] = []

    def start() -> None:
        measuring = Deferred.fromCoroutine(measure(clock))
        measuring.addBoth(found.append).addBoth(lambda _: clock.stop())

    clock.callWhenRunning(start)
    clock.run()
    (result,) = found
    if hasattr(result, "raiseException"):
        result.raiseException()
    print(json.dumps(result))


def cpu(pid: int) -> float:
    """The seconds of CPU that all threads of a process have used so far."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def share(pid: int) -> float:
    """Megabytes of memory: what is its own, and its part of what it shares with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def rounds(default: int) -> int:
    return int(os.environ.get("DEPLOYD_BENCH_ROUNDS", default))


def named(variable: str, known: tuple[str, ...]) -> list[str]:
    """Those of ``known`` that the environment names, with commas between; all when it names none."""
    wanted = os.environ.get(variable)
    return [name for name in known if not wanted or name in wanted.split(",")]
