"""Many owners of rows, in a process of their own.

`python -m benchmarks.registry_owners ADDRESS IDENTITIES FIRST COUNT`: owners FIRST, ... with EACH rows apiece; who they
are is kept in the directory IDENTITIES, so that a process started again has the same ones. It prints "ready" once all
rows are acknowledged, and keeps them until it is killed.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from benchmarks import measuring
from benchmarks.registry_clients import Owner, row
from deployd.model.registration import Registration

EACH = 1000
# Each owner has one row in this role, by which it is seen whether the owner is back.
MARKER = "marker"


def rows(owner: int) -> list[Registration]:
    # Numbers below are those of rows that others may have.
    found = [row(owner * EACH + number) for number in range(EACH - 1)]
    return [*found, Registration(f"{MARKER}-{owner}", f"{owner:040x}", MARKER, "", 1 + owner)]


async def main(reactor: Any, address: str, identities: Path, numbers: Sequence[int]) -> None:
    identities.mkdir(exist_ok=True)
    owners = [Owner(reactor, address, f"drone-{number}", identities / str(number)) for number in numbers]
    # In an earlier life they had just these; where they had not, it does no harm.
    put = [owner.put_all(rows(number), standing=True) for number, owner in zip(numbers, owners, strict=True)]
    await gatherResults(put)
    print("ready", flush=True)


@contextmanager
def running(address: str, identities: Path, counts: Sequence[int]) -> Iterator[None]:
    """Processes with so many owners each, until all are ready, and for as long as this takes."""
    processes, first = [], 0
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.registry_owners", address, str(identities), str(first), str(count)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        first += count
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", "the owners have ended"
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def run(address: str, identities: Path, first: int, count: int) -> None:
    from twisted.internet import reactor

    from deployd.daemon.clock import monotonic

    gc.set_threshold(*measuring.COLLECTIONS)
    clock = monotonic(reactor)
    failures: list[Any] = []

    def start() -> None:
        made = Deferred.fromCoroutine(main(clock, address, identities, range(first, first + count)))
        made.addErrback(failures.append).addCallback(lambda _: clock.stop() if failures else None)

    clock.callWhenRunning(start)
    clock.run()
    if failures:
        failures[0].raiseException()


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
