"""What went wrong in a worker, on its way to the process that waits for it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from deployd.errors import DeploydError
from deployd.git.problems import GitProblem
from deployd.git.work.messages import Document
from deployd.git.work.orders import Unfinished

MEMORY = "memory"
_SENTENCE = 4000


def written(error: BaseException) -> Document:
    """``error`` as a document; what nobody foresaw has its traceback, for the log."""
    if isinstance(error, MemoryError):
        return {"kind": MEMORY, "text": ""}
    if isinstance(error, DeploydError | GitProblem):
        return {"kind": type(error).__name__, "text": str(error)[:_SENTENCE]}
    if isinstance(error, OSError) and error.errno:
        return {"kind": "OSError", "number": error.errno, "text": error.strerror or ""}
    return {"kind": "", "text": "".join(traceback.format_exception(error))[-_SENTENCE:]}


def read(document: Document) -> Exception:
    """The error that ``written`` was given, or Unfinished when nobody foresaw it."""
    kind, text = document["kind"], document["text"]
    if kind == MEMORY:
        return Unfinished("it needs more memory than one job of git may have")
    if kind == "OSError":
        return OSError(document["number"], text)
    for known in (*_below(DeploydError), *_below(GitProblem)):
        if known.__name__ == kind:
            return known(text)
    return Unfinished("git failed inside; the log says more")


def _below(top: type[Exception]) -> Iterator[type[Exception]]:
    yield top
    for kind in top.__subclasses__():
        yield from _below(kind)
