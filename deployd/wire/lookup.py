"""Readers (deployctl, routers, any program; no secret needed) - registry.

A row is ``{id namespace app release role version host port drone meta owner revision}``; ``marked`` beside them says
that its owner is away, so that the row is unconfirmed and will fall.
"""

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from deployd.errors import Malformed
from deployd.model.revision import Revision
from deployd.wire.command import declared
from deployd.wire.documents import Json, dump, load


class RevisionArgument(amp.Argument):
    """What ``codec.Structure(Revision)`` would be. deployctl imports this file, and would have to wait for cattrs."""

    def toString(self, inObject: Any) -> bytes:
        return dump({"epoch": inObject.epoch, "number": inObject.number})

    def fromString(self, inString: bytes) -> Any:
        match load(inString):
            case {"epoch": str(epoch), "number": int(number)} if type(number) is int:
                return Revision(epoch, number)
        raise Malformed("not a Revision as the protocol asks for")


class JsonText(Json):
    """As Json; whoever sends it may have written it as JSON already."""

    def toString(self, inObject: Any) -> bytes:
        return inObject if isinstance(inObject, bytes) else dump(inObject)


class ListRows(amp.Command):
    """Anyone to registry: the rows that match (empty: any), in pages by id; go on with ``after`` = ``next``.

    ``namespace`` may be a prefix of a commit, from 4 characters. ``next`` is empty on the last page.
    """

    arguments = [
        (b"namespace", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"release", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"after", amp.Unicode()),
    ]
    response = [(b"rows", JsonText()), (b"next", amp.Unicode())]
    errors = declared()


class Query(amp.Command):
    """Anyone to registry: the rows that match (empty: any), those of ``near`` first, in pages; go on with ``after``.

    ``match`` is ``ROLE[@RANGE]`` with npm's ranges; ``namespace`` may be a prefix of a commit, from 4 characters; each
    key of ``meta`` must have that value. ``near`` is a namespace or ``APP:vN``. Where nothing matches, the answer comes
    once something does, or empty after ``wait`` seconds (60 at most). ``next`` is empty on the last page, and only
    there; a page may be empty.
    """

    arguments = [
        (b"match", amp.Unicode()),
        (b"namespace", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"release", amp.Unicode()),
        (b"meta", Json()),
        (b"near", amp.Unicode()),
        (b"wait", amp.Float()),
        (b"after", amp.Unicode()),
    ]
    response = [(b"rows", JsonText()), (b"next", amp.Unicode()), (b"revision", RevisionArgument())]
    errors = declared()


class Follow(amp.Command):
    """Anyone to registry, one at a time: what comes after ``position`` of the rows that match (as in Query).

    The answer comes at once if there is anything, else with the next change of such a row, or without lines after
    ``wait`` seconds (30 at most). Go on with its ``position``; "" at first, or the epoch and number that somebody has
    kept, ``EPOCH.N``, ``N`` or ``now``. A line is ``{type: put|delete|reset, revision, row}``; after a ``reset`` all
    that is known is void, and the table's rows follow as lines of type ``put``. Lines with ``more`` belong with the
    next one; ``whole`` says that with these lines the table is as it was at ``revision``; if not, hold them until it
    is.
    """

    # The hub's table of routes has a Follow too (deployd.wire.routing).
    commandName = b"FollowRows"

    arguments = [
        (b"position", amp.Unicode()),
        (b"wait", amp.Float()),
        (b"match", amp.Unicode()),
        (b"namespace", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"release", amp.Unicode()),
    ]
    response = [
        (b"lines", JsonText()),
        (b"position", amp.Unicode()),
        (b"whole", amp.Boolean()),
        (b"revision", RevisionArgument()),
    ]
    errors = declared()


class Watch(amp.Command):
    """Router of an earlier deployd to registry (now Follow), one at a time: what has changed after ``position``.

    Or nothing once ``wait`` seconds have passed.
    ``position`` is what the last answer gave, "" at first. Each change is ``{"put": ROW}`` or ``{"delete": ID}``,
    in the order of things; ``revision`` is the newest that is complete with them: a page ends where a revision does,
    unless one is larger than a page (then it does not grow before its last part). With ``reset`` there are none:
    the position is unknown here (the first, too old, or of another epoch); list all rows, then go on from the new one.
    """

    arguments = [(b"position", amp.Unicode()), (b"wait", amp.Float())]
    response = [
        (b"reset", amp.Boolean()),
        (b"changes", Json()),
        (b"position", amp.Unicode()),
        (b"revision", RevisionArgument()),
    ]
    errors = declared()
