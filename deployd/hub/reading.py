"""The files of a commit that say what to run, out of its repository. Blocking; called in threads."""

from __future__ import annotations

from attrs import evolve

from deployd.errors import Refused
from deployd.interfaces import Repositories
from deployd.model.deployd_toml import DEPLOYD_TOML, cache_faults
from deployd.model.faults import Faults
from deployd.model.manifest import MAX_FILE, PROCFILE, Reading, read_files


def read(repositories: Repositories, app: str, commit: str) -> Reading:
    """What a commit says, and what is wrong with it. Raise UnknownApp, UnknownCommit."""
    faults = Faults()
    procfile = _text(repositories, app, commit, PROCFILE, faults)
    toml = _text(repositories, app, commit, DEPLOYD_TOML, faults)
    reading = read_files(procfile, toml, faults)
    if toml is not None and not reading.of(DEPLOYD_TOML):
        names = {name for step in reading.manifest.build for name in step.cache}
        cache_faults(toml, repositories.absent(app, commit, sorted(names)), faults)
    return evolve(reading, faults=faults.sorted())


def _text(repositories: Repositories, app: str, commit: str, name: str, faults: Faults) -> str | None:
    try:
        content = repositories.read_file(app, commit, name, MAX_FILE)
        return None if content is None else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(name, error.object[: error.start].count(b"\n") + 1, "is not UTF-8")
    except Refused as error:
        faults.add(name, 0, f"cannot be used: {error}")
    return None
