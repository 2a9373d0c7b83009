"""What a job gets: its arguments, what a client sent, and what its worker keeps from one job to the next.

Descriptors: ``/proc/self/fd/N`` is a path that opens the file behind one anew, so a job whose function wants a path
needs no name on the disk that somebody would have to remove.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from attrs import define, field, frozen

from deployd.git.bodies import plain_body
from deployd.git.limits import GitLimits
from deployd.git.packs.objects import Objects
from deployd.git.serving.offers import Offers
from deployd.git.work.messages import Document
from deployd.git.work.values import from_json

# Of how many repositories a worker keeps something, and how many bytes of it at most.
REPOSITORIES = 8
WEIGHT = 192 << 20


@define
class Shelf:
    """The repositories that a worker has open, the one that was used last at the end.

    ``most`` repositories and ``weight`` bytes of memory stay between two jobs.
    """

    most: int = REPOSITORIES
    weight: int = WEIGHT
    _objects: OrderedDict[Path, Objects] = field(init=False, factory=OrderedDict)
    _offers: OrderedDict[Path, Offers] = field(init=False, factory=OrderedDict)

    def objects(self, repository: Path) -> Objects:
        """Its objects, as they were seen last."""
        if repository not in self._objects:
            self._objects[repository] = Objects(repository)
        self._objects.move_to_end(repository)
        return self._objects[repository]

    def offers(self, repository: Path) -> Offers:
        """Its refs."""
        if repository not in self._offers:
            self._offers[repository] = Offers(repository)
        self._offers.move_to_end(repository)
        return self._offers[repository]

    def tidy(self) -> None:
        """Let go of what is too much."""
        while len(self._objects) > 1 and (len(self._objects) > self.most or self._weight() > self.weight):
            self._objects.popitem(last=False)[1].close()
        while len(self._offers) > self.most:
            self._offers.popitem(last=False)

    def clear(self) -> None:
        """Begin anew: a job that failed may have left something half done."""
        with ExitStack() as closing:
            for objects in self._objects.values():
                closing.callback(objects.close)
            self._objects.clear()
            self._offers.clear()

    def _weight(self) -> int:
        return sum(objects.weight() for objects in self._objects.values())


@frozen
class Task:
    """One job to do. ``file`` is an open descriptor or None; ``note`` tells who waits something before the end."""

    arguments: Document
    body: bytes
    file: int | None
    shelf: Shelf
    note: Callable[[Document], object]

    @property
    def repository(self) -> Path:
        """The repository that it is about."""
        return Path(self.arguments["repository"])

    def objects(self) -> Objects:
        """The repository's objects."""
        return self.shelf.objects(self.repository)

    def offers(self) -> Offers:
        """The repository's refs."""
        return self.shelf.offers(self.repository)

    def stream(self, limit: int) -> BinaryIO:
        """What a client sent, as a plain stream of at most ``limit`` bytes."""
        content = io.BytesIO(self.body) if self.file is None else os.fdopen(self.file, "rb", closefd=False)
        return plain_body(content, self.arguments["encoding"].encode(), limit)

    def target(self) -> Path:
        """Where to write what is too long for an answer."""
        return Path(f"/proc/self/fd/{self.file}")

    def limits(self) -> GitLimits:
        """The bounds that its giver goes by."""
        return from_json(self.arguments["limits"], GitLimits)


Outcome = tuple[Document, bytes]
"""What came of a job: a document, and bytes that go along."""
Job = Callable[[Task], Outcome]
