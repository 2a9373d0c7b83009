"""What workers can do: each job takes its arguments apart, calls one function, and puts together what came of it.

Descriptors: ``/proc/self/fd/N`` is a path that opens the file behind one anew, so a job whose function wants a path
needs no name on the disk that somebody would have to remove.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from deployd.git.bodies import plain_body, read_limited
from deployd.git.limits import GitLimits
from deployd.git.receiving.reception import Receipt, receive
from deployd.git.receiving.rules import PushRules
from deployd.git.repositories import Repositories
from deployd.git.serving.upload import advertise, upload_pack
from deployd.git.work.messages import Document
from deployd.git.work.values import from_json, receipt_to_json
from deployd.model.policy import Policy


class Shelf:
    """What a worker keeps between jobs, of the repositories that it worked on last."""

    def clear(self) -> None:
        """Begin anew: a job that failed may have left something half done."""


@frozen
class Task:
    """One job to do. ``file`` is an open descriptor or None; ``note`` tells who waits something before the end."""

    arguments: Document
    body: bytes
    file: int | None
    shelf: Shelf
    note: Callable[[Document], object]

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
JOBS: dict[str, Callable[[Task], Outcome]] = {}


def job(function: Callable[[Task], Outcome]) -> Callable[[Task], Outcome]:
    """``function`` is a job; its name, without the underscore, is that of the job."""
    JOBS[function.__name__.strip("_")] = function
    return function


@job
def _advertise(task: Task) -> Outcome:
    """What there is in a repository; of one that is not there yet, nothing."""
    repository = task.arguments["repository"]
    return {}, advertise(
        Path(repository) if repository else None, task.arguments["service"], task.arguments["deployed"]
    )


@job
def _understand(task: Task) -> Outcome:
    """What a fetch asks for."""
    limit = task.limits().request_bytes
    body = read_limited(task.stream(limit), limit)
    recipe = {"request": body.decode("latin-1"), "deployed": task.arguments["deployed"]}
    return {"recipe": recipe, "key": os.urandom(16).hex(), "framed": False}, b""


@job
def _prepare(task: Task) -> Outcome:
    """The answer to a fetch, written to the target."""
    recipe = task.arguments["recipe"]
    size = 0
    with task.target().open("wb", buffering=0) as file:

        def write(data: bytes) -> None:
            nonlocal size
            size += file.write(data)
            task.note({"size": size})

        upload_pack(Path(task.arguments["repository"]), recipe["request"].encode("latin-1"), recipe["deployed"], write)
    return {"pieces": [(None, 0, size)]}, b""


@job
def _receive(task: Task) -> Outcome:
    """Take a push; an app that its first push was to create does not stay when it brought nothing."""
    limits, app = task.limits(), task.arguments["app"]
    repositories = Repositories(Path(task.arguments["root"]), limits)
    rules = PushRules(app, from_json(task.arguments["policy"], Policy))
    stream = task.stream(limits.pack_bytes)
    created = repositories.create(app)
    receipt = Receipt(b"")
    try:
        receipt = receive(repositories.path(app), stream, limits, rules)
    finally:
        if created and not receipt.updates:
            repositories.discard_empty(app)
    return receipt_to_json(receipt)
