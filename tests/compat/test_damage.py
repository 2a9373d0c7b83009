"""What git says to its user when a repository on the hub is damaged; the others are served as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted

from tests.compat.service import Git, Service

_FILES = {"Procfile": "http: ./serve\n", **{f"f{number}": f"{number} " * 999 for number in range(9)}}


def _cut_short(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:99])


def _without_index(pack: Path) -> None:
    pack.with_suffix(".idx").unlink()


def _with_an_empty_index(pack: Path) -> None:
    pack.with_suffix(".idx").chmod(0o644)
    pack.with_suffix(".idx").write_bytes(bytes(1064))


def _with_other_refs(pack: Path) -> None:
    (pack.parents[2] / "packed-refs").write_bytes(bytes(99))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_cut_short, "is damaged: the pack ends in the middle of an entry"),
        (_without_index, "is missing, though a branch or tag leads to it"),
        (_with_an_empty_index, "is damaged: its index does not fit"),
        (_with_other_refs, "packed-refs is damaged"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_reader_is_told_what_is_damaged(
    service: Service, git: Git, damage: Callable[[Path], None], sentence: str
) -> None:
    """In one sentence, in every version of the protocol."""
    work = await git.repository(files=_FILES)
    for app in ("whole", "damaged"):
        await git(work, "push", "-q", f"{service.url}/{app}", "HEAD:refs/heads/main")
    repository = service.repositories.path("damaged")
    (pack,) = (repository / "objects/pack").glob("*.pack")
    (repository / f"deployd/{pack.stem}.chart").unlink()
    pack.chmod(0o644)
    await service.stop()
    damage(pack)
    service.start()
    for version in ("0", "2"):
        fetch = ("-c", f"protocol.version={version}", "fetch", "-q")
        assert sentence in await git(await git.repository(), *fetch, f"{service.url}/damaged", "main", ok=False)
        await git(await git.repository(), *fetch, f"{service.url}/whole", "main")
    if damage is _with_other_refs:
        assert sentence in await git(work, "push", f"{service.url}/damaged", "HEAD:refs/heads/other", ok=False)
