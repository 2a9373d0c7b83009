"""Work in several processes at once: this one, and copies of it that end with their part.

Only for a process without threads and without a reactor, as git's workers are: a copy has this one's memory, but no
other thread. It dies with this one, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from typing import NoReturn

from attrs import define, field

from deployd.git.work.parents import end_with

_PIECE = 1 << 16


def in_parts(work: Callable[[int], object], parts: int) -> None:
    """Call ``work`` with each number below ``parts``, and return when all have ended; raise what the first one raises.

    0 is done here, so one part needs no other process.
    """
    parent = os.getpid()
    copies: list[_Copy] = []
    try:
        for number in range(1, parts):
            copies.append(_Copy.begin(work, number, parent))
        work(0)
        for copy in copies:
            copy.join()
    finally:
        for copy in copies:
            copy.end()


@define
class _Copy:
    """``errors``: a pipe on which it says what it has raised; its end is the copy's."""

    pid: int
    errors: int
    _reaped: bool = field(init=False, default=False)

    @classmethod
    def begin(cls, work: Callable[[int], object], number: int, parent: int) -> _Copy:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            _be_a_copy(work, number, parent, writing)
        os.close(writing)
        return cls(pid, reading)

    def join(self) -> None:
        said = b""
        while piece := os.read(self.errors, _PIECE):
            said += piece
        _, status = os.waitpid(self.pid, 0)
        self._reaped = True
        if said:
            raise pickle.loads(said)
        if status:
            raise ChildProcessError(f"a part of the work ended by itself ({status})")

    def end(self) -> None:
        if not self._reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.errors)


def _be_a_copy(work: Callable[[int], object], number: int, parent: int, errors: int) -> NoReturn:
    status = 1
    try:
        if end_with(parent):
            work(number)
            status = 0
    except BaseException as error:
        said = pickle.dumps(error)
        while said:
            said = said[os.write(errors, said) :]
    finally:
        os._exit(status)
