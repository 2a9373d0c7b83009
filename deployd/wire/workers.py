"""A router's main process - its worker processes, over a socket that they were born with.

Beside these a worker answers ``Follow`` and sends ``Stand`` and ``Count``, as the router does with the hub
(deployd.wire.routing).
"""

from __future__ import annotations

from attrs import frozen
from twisted.protocols import amp

from deployd.model.revision import Revision
from deployd.wire.codec import Structure
from deployd.wire.command import declared
from deployd.wire.documents import Json


@frozen
class Gauge:
    """What goes on in one process now.

    ``ejected`` counts the targets that failed last, ``dropped`` the lines of the access log that were not written.
    """

    connections: int = 0
    requests: int = 0
    ejected: int = 0
    dropped: int = 0


class FeedRows(amp.Command):
    """Main process to worker: a part of what the registry's table has changed by, or of the whole table.

    ``rows`` are lists (deployd.router.row_fields). ``revision`` is complete with this part; number 0: none is.
    """

    arguments = [(b"rows", Json()), (b"gone", Json()), (b"revision", Structure(Revision))]
    errors = declared()


class Forbid(amp.Command):
    """Main process to worker: ports that are deployd's own, as lists of host and port; nothing is ever sent there."""

    arguments = [(b"addresses", Json())]
    errors = declared()


class Serve(amp.Command):
    """Main process to worker, once it has the whole table: take connections. Answered when it does."""

    errors = declared()


class Finish(amp.Command):
    """Main process to worker: take no more connections, end what is under way, then end. Answered at once."""

    errors = declared()


class Gauges(amp.Command):
    """Worker to main process, every few seconds."""

    arguments = [(b"gauge", Structure(Gauge))]
    errors = declared()
