"""The memory of a registry: with 10,000 rows, and with 100,000 and a thousand who follow."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks import registry_clients, registry_owners
from benchmarks.measuring import share
from benchmarks.registry_watchers import READY

WATCHERS = 1000
FEW, MANY = 10, 100
FEW_MB, MANY_MB = 80, 250


def run(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    with ExitStack() as stack:
        daemon = registry_clients.registry(directory / "registry")
        stack.callback(daemon.kill)
        assert daemon.process is not None
        pid = daemon.process.pid
        empty = share(pid)
        stack.enter_context(registry_owners.running(daemon.amp, directory / "few", [FEW]))
        few = share(pid)
    with ExitStack() as stack:
        daemon = registry_clients.registry(directory / "larger")
        stack.callback(daemon.kill)
        assert daemon.process is not None
        pid = daemon.process.pid
        stack.enter_context(registry_owners.running(daemon.amp, directory / "many", [MANY // 2, MANY // 2]))
        many = share(pid)
        command = [sys.executable, "-m", "benchmarks.registry_watchers", "amp", daemon.amp, str(WATCHERS)]
        watchers = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(watchers.kill)
        assert watchers.stdout is not None
        assert watchers.stdout.readline().strip() == READY
        watched = share(pid)
    each = registry_owners.EACH
    return [
        "The registry's memory (PSS)",
        "",
        "| | MB | allowed |",
        "| --- | --- | --- |",
        f"| no rows | {empty:.0f} | |",
        f"| {FEW * each:,} rows of {FEW} owners | {few:.0f} | {FEW_MB} |",
        f"| {MANY * each:,} rows of {MANY} owners | {many:.0f} | |",
        f"| the same and {WATCHERS:,} watchers | {watched:.0f} | {MANY_MB} |",
    ]
