"""Readers (deployctl, routers; no secret needed) - registry."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.wire.command import declared
from deployd.wire.documents import Json


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
