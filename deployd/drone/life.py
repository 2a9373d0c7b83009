"""What must still be known of an instance's process after a kill of the drone, and what that says of the one found."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from deployd.model.instance import AssignedInstance
from deployd.planning.reconcile import outdated
from deployd.wire.keeping import Held


@frozen
class Life:
    """``pid`` with ``created`` is the process that was started last (``deployd.processes.trees.ProcessRef``), 0 none.

    ``line`` is what it was started as, or given up as; ``host`` is of its row, ``bind`` its HOST. ``passed``: it has
    passed its check, so its row may be in the port table. ``gone``: its end is dealt with. ``falls`` and ``faults`` are
    of ``deployd.planning.restarts.Past``, ``failures`` of ``deployd.drone.problem.Health``. ``begun`` is the generation
    in which what runs once was begun. ``over`` is ``failed`` or ``done`` (of ``State``) once it is not started again,
    then with ``reason`` and ``tail``.
    """

    port: int = 0
    pid: int = 0
    created: str = ""
    restarts: int = 0
    line: AssignedInstance | None = None
    host: str = ""
    bind: str = ""
    passed: bool = False
    gone: bool = False
    falls: int = 0
    faults: int = 0
    failures: int = 0
    begun: int = -1
    over: str = ""
    reason: str = ""
    tail: str = ""


class Found(Enum):
    """What the next life of a drone finds of an instance."""

    LIVING = "living"  # it runs as its line says
    ENDED = "ended"  # the same, but it has ended meanwhile
    OTHER = "other"  # nothing, or something that should not run: it is swept, and started if it should run
    OVER = "over"  # given up, or done
    LOST = "lost"  # it runs once, was begun, and nobody saw how it ended


def found(line: AssignedInstance, life: Life, held: Held | None) -> Found:
    """``held`` is what the keeper has of it.

    Note [Taking over]
    ~~~~~~~~~~~~~~~~~~
    Only a process that the journal knows to be of the present line goes on. One that was started, but not saved before
    the kill, may be of an older line, and is ended. What runs once was saved as begun before it was started, so what
    the keeper holds beside the process that was saved before is of that beginning.
    """
    current = life.line is not None and not outdated(life.line, line)
    if current and life.over:
        return Found.OVER
    saved = held is not None and life.pid != 0 and (held.pid, held.created) == (life.pid, life.created)
    if line.once and life.begun == line.generation:
        its = saved if current else not saved
        if held is None or not its or (saved and life.gone):
            return Found.LOST
    elif not (saved and current) or life.gone:
        return Found.OTHER
    return Found.ENDED if held is not None and held.ended else Found.LIVING
