"""Owners of rows (drones, ``deployctl register``) - registry."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import NotOwner, Superseded
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.wire.codec import Structure, Written
from deployd.wire.command import declared

Rows = tuple[Registration, ...]
Ids = tuple[str, ...]


class Attach(amp.Command):
    """Owner to registry, first in a writing session: take over from any earlier session of this owner.

    ``name`` is what ``drone`` of its rows will say; ``credential`` is what the hub gave a drone it accepted, and
    opens the namespaces that are commits; ``advertise`` is the host of its rows (empty: the peer's address).
    ``stands`` in the answer is the revision at which the owner's rows last changed (number 0: it has none): an owner
    that knows them to be as it wants them since then may Confirm instead of publishing.
    """

    arguments = [(b"name", amp.Unicode()), (b"credential", amp.String()), (b"advertise", amp.Unicode())]
    response = [
        (b"host", amp.Unicode()),
        (b"revision", Structure(Revision)),
        (b"stands", Structure(Revision, optional=True)),
    ]
    errors = declared(Superseded)


class Publish(amp.Command):
    """Owner to registry, after Attach and on every reconnect: all its rows, in parts (Note [Whole state in pages]).

    With the last part the rows replace whatever the owner had at once. The answer's revision is the table's since
    which that is so, and its ``stands`` is as after Attach, of what was done up to this and not later (both in the last
    part's answer).
    """

    arguments = [(b"part", amp.Integer()), (b"parts", amp.Integer()), (b"rows", Written(Rows))]
    response = [(b"revision", Structure(Revision)), (b"stands", Structure(Revision, optional=True))]
    errors = declared(NotOwner, Superseded)


class Confirm(amp.Command):
    """Owner to registry, after Attach in place of Publish: its rows stand as they last changed at ``stands``.

    Refused when that is not where they stand, or when they would carry another host or name than before; then the owner
    publishes.
    """

    arguments = [(b"stands", Structure(Revision))]
    response = [(b"revision", Structure(Revision)), (b"stands", Structure(Revision, optional=True))]
    errors = declared(Superseded)


class Update(amp.Command):
    """Owner to registry, after Publish or Confirm: rows to put and ids to free, applied at once and together."""

    arguments = [(b"put", Written(Rows)), (b"free", Structure(Ids))]
    response = [(b"revision", Structure(Revision)), (b"stands", Structure(Revision, optional=True))]
    errors = declared(NotOwner, Superseded)


class Leave(amp.Command):
    """Owner to registry, before an orderly end: free its rows now rather than after the timeout."""

    errors = declared(Superseded)
