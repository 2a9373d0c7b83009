"""Router - hub."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import NameInUse
from deployd.model.revision import Revision
from deployd.model.route import Tally
from deployd.model.router import Standing, TableItem
from deployd.wire.codec import Structure
from deployd.wire.command import declared

TableItems = tuple[TableItem, ...]
Tallies = tuple[Tally, ...]


class Enter(amp.Command):
    """Router to hub, first in every session: who it is. From now on it is live until its lease runs out or it leaves.

    ``lease`` is the seconds that it counts as live after its connection was lost.
    """

    arguments = [(b"name", amp.Unicode())]
    response = [(b"epoch", amp.Unicode()), (b"registry", amp.Unicode()), (b"lease", amp.Float())]
    errors = declared(NameInUse)


class Follow(amp.Command):
    """Hub to router, after Enter and whenever it changes: the table of routes, in parts (Note [Whole state in pages]).

    With ``base`` a number above 0, what has changed since that revision of the table, which is the last that this
    session acknowledged; with 0 everything. The last part is answered once the table is saved and all workers follow
    it: that is the acknowledgement which ``deployctl route set`` waits for.
    """

    arguments = [
        (b"revision", Structure(Revision)),
        (b"base", amp.Integer()),
        (b"part", amp.Integer()),
        (b"parts", amp.Integer()),
        (b"items", Structure(TableItems)),
    ]
    errors = declared()


class Stand(amp.Command):
    """Router to hub, after each Follow and whenever it changes: how far it is, and what still holds it up."""

    arguments = [(b"standing", Structure(Standing))]
    errors = declared()


class Count(amp.Command):
    """Router to hub, every few seconds while there are requests: its tallies, those that changed since the last."""

    arguments = [(b"tallies", Structure(Tallies))]
    errors = declared()


class Depart(amp.Command):
    """Router to hub, before an orderly end: it takes no requests any more, so nobody waits for it."""

    errors = declared()
