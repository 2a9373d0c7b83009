"""Whether a command can be run, before it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployd.processes.environment import SYSTEM_PATH


def missing(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> str | None:
    """Why ``argv`` cannot be run here, as one sentence; None if it can, as far as files tell."""
    if not argv or not argv[0]:
        return "there is no command to run"
    name, path = argv[0], env.get("PATH", SYSTEM_PATH)
    if not Path(cwd).is_dir():
        return f"{name}: the directory {cwd} to run it in is not there"
    if "/" in name:
        candidates = [Path(cwd, name)]
    else:
        candidates = [Path(cwd, directory or ".", name) for directory in path.split(":")]
    files = [file for file in candidates if file.is_file()]
    if not files:
        why = "no such file on this drone" if "/" in name else f"command not found on this drone (PATH {path})"
        return f"{name}: {why}"
    runnable = next((file for file in files if os.access(file, os.X_OK)), None)
    if runnable is None:
        return f"{name}: not executable; `chmod +x` it and commit that"
    interpreter = _interpreter(runnable)
    if interpreter and not Path(cwd, interpreter).exists():
        return f"{name}: its interpreter {interpreter} is not on this drone"
    return None


def _interpreter(file: Path) -> str:
    """The program that a ``#!`` line names, or nothing."""
    try:
        # It may be a named pipe by now, which would keep whoever opens it waiting.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as content:
            line = content.readline(256)
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""
