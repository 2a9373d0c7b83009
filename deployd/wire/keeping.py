"""A drone - its keeper, over a UNIX socket in the drone's state directory.

The keeper outlives drones of later versions too, so this conversation grows but does not change: a field that is new
has a default, and a command that an old keeper does not know is answered with InternalError.
"""

from __future__ import annotations

from attrs import field, frozen
from twisted.protocols import amp

from deployd.model.role import Limits
from deployd.wire.codec import LongStructure, Structure
from deployd.wire.command import declared

VERSION = 1
MAX_REMARK = 1000
"""Characters."""


@frozen
class Launch:
    """One process to start; ``id`` is an instance's, or that of something that the drone runs once.

    ``env`` is the whole environment. ``log`` is a directory below the drone's log directory, where what it prints
    goes; "": it is thrown away. ``listen`` (``HOST:PORT``, "" for none) is a socket that the keeper opens, keeps until
    ``Unlisten``, and hands over as descriptor 3 (with LISTEN_FDS and LISTEN_PID). It is started before ``by`` (seconds
    of CLOCK_MONOTONIC, 0: any time) or not at all: an order that was stuck must not surprise who has given it up.
    """

    id: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(hash=False, repr=False)
    cwd: str
    log: str
    listen: str = ""
    limits: Limits = field(factory=Limits)
    by: float = 0.0


@frozen
class Held:
    """A process of the keeper, living or not yet forgotten.

    ``pid`` with ``created`` is a ``deployd.processes.trees.ProcessRef``. ``started`` and ``ended`` are seconds since
    1970, ``ended`` 0 while it runs; then either ``code`` or ``signal`` says how it ended. ``socket``: the keeper has a
    listening socket for it.
    """

    id: str
    pid: int
    created: str
    started: float
    ended: float = 0.0
    code: int | None = None
    signal: int | None = None
    socket: bool = False


class Meet(amp.Command):
    """Drone to keeper, as the main process's first words: from now on this session hears of exits, no earlier one does.

    The answer is the keeper's version of this conversation and its pid.
    """

    arguments = [(b"version", amp.Integer())]
    response = [(b"version", amp.Integer()), (b"pid", amp.Integer())]
    errors = declared()


class ListHeld(amp.Command):
    """Drone to keeper, after Meet: all that it holds, in pages by id; go on with ``after`` = ``next``."""

    arguments = [(b"after", amp.Unicode())]
    response = [(b"held", Structure(tuple[Held, ...])), (b"next", amp.Unicode())]
    errors = declared()


class Start(amp.Command):
    """Drone to keeper: start a process that prints into its log; answered once it runs.

    Refused while an earlier one of that id runs; one that has ended is forgotten by it.
    """

    arguments = [(b"launch", LongStructure(Launch))]
    response = [(b"held", Structure(Held))]
    errors = declared()


class StartAttached(amp.Command):
    """Drone to keeper: as Start, with these as its stdin, stdout and stderr in place of a log."""

    arguments = [
        (b"launch", LongStructure(Launch)),
        (b"stdin", amp.Descriptor()),
        (b"stdout", amp.Descriptor()),
        (b"stderr", amp.Descriptor()),
    ]
    response = [(b"held", Structure(Held))]
    errors = declared()


class Exited(amp.Command):
    """Keeper to drone, when a process has ended; it is held until Forget all the same."""

    arguments = [(b"held", Structure(Held))]
    errors = declared()


class Forget(amp.Command):
    """Drone to keeper: how this process ended is saved; its socket goes, too. Says nothing to one that runs."""

    arguments = [(b"id", amp.Unicode())]
    errors = declared()


class Unlisten(amp.Command):
    """Drone to keeper: close the listening socket that it keeps for ``id``, if it does."""

    arguments = [(b"id", amp.Unicode())]
    errors = declared()


class Remark(amp.Command):
    """Drone to keeper: write these words of deployd's own, one line, into a log; what is past MAX_REMARK is cut off."""

    arguments = [(b"log", amp.Unicode()), (b"words", amp.Unicode())]
    errors = declared()


class Quit(amp.Command):
    """Drone to keeper, when nothing should outlive the drone: end, unless something still runs (then Refused)."""

    errors = declared()
