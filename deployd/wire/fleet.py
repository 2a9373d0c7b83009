"""Hub - drone."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import NameInUse, UnknownApp
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.revision import Revision
from deployd.wire.codec import Structure
from deployd.wire.command import declared

AssignedInstances = tuple[AssignedInstance, ...]
ObservedInstances = tuple[ObservedInstance, ...]


class Join(amp.Command):
    """Drone to hub, first in every session: who it is.

    The answer gives the hub's epoch, where registry and git are, the host that the drone's rows should carry, and the
    credential that lets its owner write commit namespaces on the registry.
    """

    arguments = [(b"description", Structure(DroneDescription)), (b"advertise", amp.Unicode())]
    response = [
        (b"epoch", amp.Unicode()),
        (b"registry", amp.Unicode()),
        (b"git", amp.Unicode()),
        (b"host", amp.Unicode()),
        (b"credential", amp.String()),
    ]
    errors = declared(NameInUse)


class Assign(amp.Command):
    """Hub to drone, after Join and whenever it changes: everything the drone should have, in parts.

    Answered once the part is taken; the last part once the assignment is in the drone's journal.
    """

    arguments = [
        (b"revision", Structure(Revision)),
        (b"part", amp.Integer()),
        (b"parts", amp.Integer()),
        (b"instances", Structure(AssignedInstances)),
    ]
    errors = declared()


class Report(amp.Command):
    """Drone to hub, after Join and whenever it changes: all its instances, in parts.

    ``assignment`` is the newest revision in the drone's journal; number 0 when it has none of this epoch.
    """

    arguments = [
        (b"assignment", Structure(Revision)),
        (b"part", amp.Integer()),
        (b"parts", amp.Integer()),
        (b"instances", Structure(ObservedInstances)),
    ]
    errors = declared()


class FetchToken(amp.Command):
    """Drone to hub, before each fetch: a password for git's Basic auth that reads one repository for a few minutes."""

    arguments = [(b"app", amp.Unicode())]
    response = [(b"token", amp.String()), (b"lifetime", amp.Float())]
    errors = declared(UnknownApp)


class Prefetch(amp.Command):
    """Hub to drone, after a push: this commit is the newest of its branch and may be deployed soon."""

    arguments = [(b"app", amp.Unicode()), (b"ref", amp.Unicode()), (b"commit", amp.Unicode())]
    errors = declared()
