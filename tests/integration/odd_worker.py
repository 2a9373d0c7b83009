"""A git worker that does more than git: what tests want done."""

from __future__ import annotations

import os
import signal
import sys
import time

from deployd.git.problems import BadPack
from deployd.git.work.jobs import JOBS
from deployd.git.work.tasks import Outcome, Task
from deployd.git.work.worker import main


def _echo(task: Task) -> Outcome:
    """Say what was said, after printing it where nobody should be hurt by it."""
    print("stray", flush=True)
    task.note({"heard": len(task.body)})
    return task.arguments, task.body


def _read(task: Task) -> Outcome:
    """What is in the file."""
    assert task.file is not None
    return {}, os.pread(task.file, 100, 0)


def _write(task: Task) -> Outcome:
    """Write into the file."""
    with task.target().open("wb") as file:
        file.write(b"written")
    return {}, b""


def _refuse(task: Task) -> Outcome:
    """Raise what is foreseen."""
    raise BadPack("it is damaged")


def _grow(task: Task) -> Outcome:
    """Use more memory than there may be."""
    return {"size": len(bytearray(1 << 40))}, b""


def _grow_slowly(task: Task) -> Outcome:
    """The same, in many pieces."""
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def _die(task: Task) -> Outcome:
    """End at once."""
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}, b""


def _sleep(task: Task) -> Outcome:
    """Take long; say who does."""
    task.note({"pid": os.getpid()})
    time.sleep(task.arguments["seconds"])
    return {}, b""


def _signal(task: Task) -> Outcome:
    """Be signalled as everything in a terminal is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return {"pid": os.getpid()}, b""


JOBS.update(
    echo=_echo,
    read=_read,
    write=_write,
    refuse=_refuse,
    grow=_grow,
    grow_slowly=_grow_slowly,
    die=_die,
    sleep=_sleep,
    signal=_signal,
)

if __name__ == "__main__":
    main(sys.argv)
