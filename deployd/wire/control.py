"""deployctl - hub. Rows are the documents that ``--json`` prints (docs/reference)."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import UnknownApp, UnknownCommit, UnknownDrone, UnknownInstance
from deployd.wire.command import declared
from deployd.wire.documents import Json


class Deploy(amp.Command):
    """deployctl to hub: create (or retry, or widen) a release; answered once it is saved.

    ``commit`` is whatever names one: an id or prefix, branch, tag, ``vN``. ``where`` is a list of labels
    (``["region=eu"]``), all of which a drone must have. ``timeout`` (seconds) is the hub's deadline for ``need``.
    ``changed`` is false when everything asked for is deployed and healthy already.
    """

    arguments = [
        (b"app", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"drones", Json()),
        (b"where", Json()),
        (b"need", amp.Unicode()),
        (b"timeout", amp.Float()),
    ]
    response = [(b"commit", amp.Unicode()), (b"release", amp.Unicode()), (b"changed", amp.Boolean())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone)


class DeployStatus(amp.Command):
    """deployctl to hub: where the release stands.

    ``state`` is the release's (``deploying deployed failed retiring retired``), ``drones`` a page of rows ``{drone
    state reason tail}`` (state: ``ready pending failed away nothing``), by drone; ``revision`` is for AwaitChange.
    """

    arguments = [(b"app", amp.Unicode()), (b"release", amp.Unicode()), (b"after", amp.Unicode())]
    response = [
        (b"state", amp.Unicode()),
        (b"reason", amp.Unicode()),
        (b"need", amp.Unicode()),
        (b"drones", Json()),
        (b"next", amp.Unicode()),
        (b"revision", amp.Integer()),
    ]
    errors = declared(UnknownApp, UnknownCommit)


class AwaitChange(amp.Command):
    """deployctl to hub: answered when anything desired or observed changes after ``revision``, or after ``wait`` s."""

    arguments = [(b"revision", amp.Integer()), (b"wait", amp.Float())]
    response = [(b"revision", amp.Integer())]
    errors = declared()


class List(amp.Command):
    """deployctl to hub: rows of ``kind``, filtered, in pages; go on with ``after`` = ``next``.

    ``kind`` is ``apps``, ``drones``, ``releases`` or ``instances``.
    """

    arguments = [
        (b"kind", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"drone", amp.Unicode()),
        (b"after", amp.Unicode()),
    ]
    response = [(b"rows", Json()), (b"next", amp.Unicode()), (b"revision", amp.Integer())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone)


class Stop(amp.Command):
    """deployctl to hub: these instances stay stopped until restarted or deployed again; answered once saved."""

    arguments = [(b"ids", Json())]
    errors = declared(UnknownInstance)


class Restart(amp.Command):
    """deployctl to hub: start these instances anew; answered once saved. ``generations`` is ``{id: N}`` to wait for."""

    arguments = [(b"ids", Json())]
    response = [(b"generations", Json())]
    errors = declared(UnknownInstance)


class Retire(amp.Command):
    """deployctl to hub: take a release down everywhere, now and wherever it may come back; answered once saved."""

    arguments = [(b"app", amp.Unicode()), (b"commit", amp.Unicode())]
    response = [(b"commit", amp.Unicode()), (b"release", amp.Unicode())]
    errors = declared(UnknownApp, UnknownCommit)


class ForgetDrone(amp.Command):
    """deployctl to hub: drop a drone that will not return; refused while it is connected."""

    arguments = [(b"name", amp.Unicode())]
    errors = declared(UnknownDrone)


class Status(amp.Command):
    """deployctl to hub: one document about the cluster."""

    response = [(b"document", Json())]
    errors = declared()
