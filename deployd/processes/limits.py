"""The resource limits of a role, put in front of its command."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache

from deployd.errors import Refused
from deployd.model.role import Limits
from deployd.processes.environment import SYSTEM_PATH


def wrapped(argv: Sequence[str], limits: Limits) -> tuple[str, ...]:
    """``argv`` as it runs within ``limits``: ``prlimit`` sets them for itself and becomes it."""
    options = [
        f"--{name}={value}"
        for name, value in (("nofile", limits.files), ("nproc", limits.processes), ("data", limits.memory))
        if value
    ]
    return (_tool("prlimit"), *options, "--", *argv) if options else tuple(argv)


@cache
def _tool(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH) or shutil.which(name)
    if found is None:
        raise Refused(f"{name}, which deployd needs to limit apps, is not on this machine")
    return found
