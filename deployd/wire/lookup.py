"""Readers (deployctl, routers; no secret needed) - registry."""

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


class ListRows(amp.Command):
    """Anyone to registry: the rows that match (empty: any), in pages by id; go on with ``after`` = ``next``.

    ``namespace`` may be a prefix of a commit, from 4 characters. A row is ``{id namespace app release role version
    host port drone meta owner revision}``; ``next`` is empty on the last page.
    """

    arguments = [
        (b"namespace", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"release", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"after", amp.Unicode()),
    ]
    response = [(b"rows", Json()), (b"next", amp.Unicode())]
    errors = declared()


class Watch(amp.Command):
    """Router to registry, one at a time: what has changed after ``position``, or nothing once ``wait`` s have passed.

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
