"""How much of what apps print gets into their logs per second, beside `cat` that reads it from a pipe into a file.

Eight instances, as one alone is held to its share; each prints as fast as it may, and then nothing.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.instances import House, cpu
from tests.e2e.waiting import until

APPS = 8
MEGABYTES = 40
ALLOWED = 50
LINE = "a line as an app may print it, of about a hundred characters, with a number or two in it: 42, 17"
PRINT = f"yes '{LINE}' | head -c {MEGABYTES}000000"
MANIFEST = f"""\
[roles.printer-worker]
command = "sleep 3; {PRINT}; exec sleep 1000000"
count = {APPS}
"""


def floor(directory: Path) -> float:
    """Megabytes per second of `cat`, one after the other."""
    began = time.perf_counter()
    for number in range(APPS):
        subprocess.run(["/bin/sh", "-c", f"{PRINT} | cat > {directory}/{number}"], check=True)
    return APPS * MEGABYTES / (time.perf_counter() - began)


def printers(house: House) -> bool:
    """Whether any of the apps prints still."""
    return any(name_of(pid) == "yes" for pid in house.cluster.processes("d1"))


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def run(directory: Path) -> list[str]:
    directory.mkdir(exist_ok=True)
    plain = floor(directory)
    house = House(directory / "cluster")
    try:
        house.cluster.repository("printer", {"deployd.toml": MANIFEST}).push("printer")
        house.cluster.deployctl("deploy", "printer", "master")
        until(lambda: printers(house), "they print")
        began, used = time.perf_counter(), cpu(house.own)
        until(lambda: not printers(house), "they have printed", deadline=120)
        seconds = time.perf_counter() - began
        busy = (cpu(house.own) - used) / seconds
    finally:
        house.close()
    rate = APPS * MEGABYTES / seconds
    return [
        f"{APPS} instances print {MEGABYTES} MB each: {rate:.0f} MB/s are written into logs with their times (wanted:"
        f" {ALLOWED}), with {100 * busy:.0f} % of a core for drone and keeper; `cat` into a file, one after the other:"
        f" {plain:.0f} MB/s.",
    ]
