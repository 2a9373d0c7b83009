"""Hub - drone."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import NameInUse, UnknownApp, UnknownCommit, UnknownInstance
from deployd.model.drone import DroneDescription
from deployd.model.instance import AssignedInstance, ObservedInstance
from deployd.model.revision import Revision
from deployd.wire.codec import Structure
from deployd.wire.command import declared
from deployd.wire.documents import Json

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


class FetchConfig(amp.Command):
    """Drone to hub, before it first starts something of a release: the values of its config, and of an ``extra``.

    ``values`` is a JSON object. Refused unless the drone should run this release. With the ``commit``, as a restored
    hub may number another one the same.
    """

    arguments = [
        (b"app", amp.Unicode()),
        (b"release", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"extra", amp.Unicode()),
    ]
    response = [(b"values", amp.String())]
    errors = declared(UnknownCommit)


class ReadLog(amp.Command):
    """Hub to drone, for a person: what was printed after ``after`` by the instances that match (empty: any).

    ``after`` is a stamp (deployd.processes.records), or -1: begin about ``newest`` lines before the end. With nothing
    to tell yet it is answered after ``wait`` seconds. ``data`` is records one behind the other, in the order of their
    stamps, ``sources`` the instances that they name by position: ``{id app release commit role}``; ``next`` goes on
    from there. ``more``: there is more already.
    """

    arguments = [
        (b"app", amp.Unicode()),
        (b"releases", Json()),
        (b"role", amp.Unicode()),
        (b"after", amp.Integer()),
        (b"newest", amp.Integer()),
        (b"wait", amp.Float()),
    ]
    response = [(b"data", amp.String()), (b"sources", Json()), (b"next", amp.Integer()), (b"more", amp.Boolean())]
    errors = declared()


class BeginRun(amp.Command):
    """Hub to drone, for ``deployctl exec``: run ``line`` (it runs once, and is no instance) and keep what it prints.

    ``run``, the line's id, names it in the three commands that follow. ``env`` (a JSON object) is its own environment.
    It is ended when nobody has read or written for half a minute.
    """

    arguments = [
        (b"run", amp.Unicode()),
        (b"line", Structure(AssignedInstance)),
        (b"env", amp.String()),
    ]
    errors = declared()


class ReadRun(amp.Command):
    """Hub to drone: what a run has printed since the last read, or nothing after ``wait`` seconds.

    ``stdout`` and ``stderr`` are what came; ``ended`` with ``code`` (128 + a signal's number) after the last of it.
    ``failed`` is why deployd could not run it, "" if it could.
    """

    arguments = [(b"run", amp.Unicode()), (b"wait", amp.Float())]
    response = [
        (b"stdout", amp.String()),
        (b"stderr", amp.String()),
        (b"ended", amp.Boolean()),
        (b"code", amp.Integer()),
        (b"failed", amp.Unicode()),
    ]
    errors = declared(UnknownInstance)


class WriteRun(amp.Command):
    """Hub to drone: input for a run, answered once there is ``room`` for more, or without after some seconds.

    Then empty ``data`` asks again. ``end``: that was all of it. This too shows that somebody is there.
    """

    arguments = [(b"run", amp.Unicode()), (b"data", amp.String()), (b"end", amp.Boolean())]
    response = [(b"room", amp.Boolean())]
    errors = declared(UnknownInstance)


class EndRun(amp.Command):
    """Hub to drone: the person is gone; end the run and all that it has started."""

    arguments = [(b"run", amp.Unicode())]
    errors = declared()
