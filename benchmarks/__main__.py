"""`python -m benchmarks [NAME...]`: run all benchmarks, or those named, and print their tables."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    deploy_latency,
    git_drone,
    git_pushes,
    git_speed,
    idle_memory,
    instances,
    logs,
    registry_restart,
    registry_size,
    registry_speed,
    rollback,
    router_size,
    router_speed,
)

ALL = {
    "deploy_latency": deploy_latency.run,
    "git_drone": git_drone.run,
    "git_pushes": git_pushes.run,
    "git_speed": git_speed.run,
    "idle_memory": idle_memory.run,
    "instances": instances.run,
    "logs": logs.run,
    "registry_restart": registry_restart.run,
    "registry_size": registry_size.run,
    "registry_speed": registry_speed.run,
    "rollback": rollback.run,
    "router_size": router_size.run,
    "router_speed": router_speed.run,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}")
    for name in names or list(ALL):
        with tempfile.TemporaryDirectory(prefix="deployd-bench-") as directory:
            print(flush=True)
            for line in ALL[name](Path(directory) / name):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
