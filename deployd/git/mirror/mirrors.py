"""A drone's mirrors as its reactor thread sees them: git's work is done by workers, for each app one at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from twisted.internet.defer import Deferred

from deployd.errors import InternalError
from deployd.git.limits import GitLimits
from deployd.git.work.crew import Terms
from deployd.git.work.orders import HEAVY, Answer, Order, Unfinished

LANES = {HEAVY: Terms(workers=3, waiting=1000, patience=3600.0, idle=60.0)}
"""Of a drone's pool: one lane, whose workers are there only while there is something to do."""
LONGEST = 3600.0
"""Seconds for anything but a transfer: there are slow disks, and files by the hundred thousand."""


@frozen
class Mirrors:
    """``run`` is ``Pool.run``; ``roots`` are the certificates (PEM) that fetches trust, None: those of this system.

    The methods' Deferreds fail with a DeploydError, or an OSError of the disk.
    """

    run: Callable[[Order], Deferred[Answer]]
    limits: GitLimits
    roots: str | None = None

    async def has(self, mirror: Path, commit: str) -> bool:
        """Whether ``commit`` is in ``mirror``."""
        return bool((await self._done("has", mirror, commit=commit))["has"])

    async def fetch(self, mirror: Path, url: str, token: str, commit: str, timeout: float) -> None:
        """Bring it there; ``timeout`` in seconds. See ``deployd.git.mirror.fetching``."""
        source = {"url": url, "user": "drone", "token": token, "roots": self.roots}
        await self._done("fetch", mirror, timeout + LONGEST, commit=commit, source=source, timeout=timeout)

    async def size(self, mirror: Path, commit: str) -> int:
        """The bytes that a checkout will take; raise Refused when there may be none."""
        return int((await self._done("size", mirror, commit=commit))["size"])

    async def checkout(self, mirror: Path, commit: str, target: Path) -> None:
        """Write the files of ``commit`` to ``target``; raise Refused when that may not be."""
        await self._done("checkout", mirror, commit=commit, target=str(target))

    async def keep(self, mirror: Path, commits: Collection[str]) -> None:
        """Forget all other commits."""
        await self._done("keep", mirror, kept=sorted(commits))

    async def _done(self, what: str, mirror: Path, seconds: float = LONGEST, **arguments: Any) -> dict[str, Any]:
        arguments |= {"mirror": str(mirror), "limits": asdict(self.limits)}
        order = Order(
            name=f"mirror_{what}",
            arguments=arguments,
            repository=str(mirror),
            lane=HEAVY,
            kind=str(mirror),
            seconds=seconds,
        )
        try:
            return (await self.run(order)).document
        except Unfinished as error:
            raise InternalError(str(error)) from error
