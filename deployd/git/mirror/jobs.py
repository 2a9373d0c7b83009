"""What git workers do for a drone: each job takes its arguments apart and calls one function."""

from __future__ import annotations

from pathlib import Path

from deployd.git.mirror import checking_out, fetching
from deployd.git.mirror.transfer import Source
from deployd.git.work.tasks import Job, Outcome, Task


def _has(task: Task) -> Outcome:
    return {"has": fetching.has(_mirror(task), task.arguments["commit"])}, b""


def _fetch(task: Task) -> Outcome:
    source = Source(**task.arguments["source"])
    fetching.fetch(_mirror(task), source, task.arguments["commit"], task.arguments["timeout"], task.limits())
    return {}, b""


def _size(task: Task) -> Outcome:
    return {"size": checking_out.size(_mirror(task), task.arguments["commit"], task.limits())}, b""


def _checkout(task: Task) -> Outcome:
    checking_out.checkout(_mirror(task), task.arguments["commit"], Path(task.arguments["target"]), task.limits())
    return {}, b""


def _keep(task: Task) -> Outcome:
    fetching.keep(_mirror(task), task.arguments["kept"])
    return {}, b""


def _mirror(task: Task) -> Path:
    return Path(task.arguments["mirror"])


MIRROR_JOBS: dict[str, Job] = {
    "mirror_has": _has,
    "mirror_fetch": _fetch,
    "mirror_size": _size,
    "mirror_checkout": _checkout,
    "mirror_keep": _keep,
}
