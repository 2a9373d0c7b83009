"""deployctl - hub. Rows are the documents that ``--json`` prints (docs/reference)."""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import DroneAway, UnknownApp, UnknownCommit, UnknownDrone, UnknownInstance, UnknownRoute
from deployd.wire.command import declared
from deployd.wire.documents import Json


class Deploy(amp.Command):
    """deployctl to hub: create (or retry, or widen) a release; answered once it is saved.

    ``commit`` is whatever names one: an id or prefix, branch, tag, ``vN``. ``where`` is a list of labels
    (``["region=eu"]``), all of which a drone must have. ``timeout`` (seconds) is the hub's deadline for ``need``;
    0: two minutes without what builds and the release command take.
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
    state reason tail}`` (state: ``ready pending failed away nothing``), by drone; ``left`` are the seconds until the
    hub decides at the latest, as it looks now; ``revision`` is for AwaitChange.
    """

    arguments = [(b"app", amp.Unicode()), (b"release", amp.Unicode()), (b"after", amp.Unicode())]
    response = [
        (b"state", amp.Unicode()),
        (b"reason", amp.Unicode()),
        (b"need", amp.Unicode()),
        (b"drones", Json()),
        (b"next", amp.Unicode()),
        (b"left", amp.Float()),
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

    ``kind`` is ``apps``, ``drones``, ``releases``, ``instances``, ``routes`` or ``history``; of the last
    two, ``app`` is a route's host, or host and path.
    """

    arguments = [
        (b"kind", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"drone", amp.Unicode()),
        (b"after", amp.Unicode()),
    ]
    response = [(b"rows", Json()), (b"next", amp.Unicode()), (b"revision", amp.Integer())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone, UnknownRoute)


class Events(amp.Command):
    """deployctl to hub: what happened, in pages, oldest first; go on with ``above`` = ``number`` while there is more.

    The ``newest`` events of ``app``, or of everything (""), with numbers above ``above``: rows ``{number when what who
    app detail}``. Later ones have numbers above ``number``; ``revision`` is for AwaitChange.
    """

    arguments = [(b"app", amp.Unicode()), (b"newest", amp.Integer()), (b"above", amp.Integer())]
    response = [
        (b"rows", Json()),
        (b"number", amp.Integer()),
        (b"more", amp.Boolean()),
        (b"revision", amp.Integer()),
    ]
    errors = declared(UnknownApp)


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


class RetireUnused(amp.Command):
    """deployctl to hub: retire what nobody uses, of ``app`` or of all apps (""), a page at a time; answered once saved.

    Each row says of one release ``{app release commit goes reason}`` why it goes or stays; go on with ``after`` =
    ``next``. ``dry_run`` changes nothing.
    """

    arguments = [(b"app", amp.Unicode()), (b"dry_run", amp.Boolean()), (b"after", amp.Unicode())]
    response = [(b"rows", Json()), (b"next", amp.Unicode())]
    errors = declared(UnknownApp)


class Pin(amp.Command):
    """deployctl to hub: a release is not to be retired, or may be again; answered once saved."""

    arguments = [(b"app", amp.Unicode()), (b"commit", amp.Unicode()), (b"pinned", amp.Boolean())]
    response = [(b"commit", amp.Unicode()), (b"release", amp.Unicode())]
    errors = declared(UnknownApp, UnknownCommit)


class SetPolicy(amp.Command):
    """deployctl to hub: ``values`` (``{"keep": "3"}``, "" for the default) of an app; answered once saved, with all."""

    arguments = [(b"app", amp.Unicode()), (b"values", Json())]
    response = [(b"values", Json())]
    errors = declared(UnknownApp, UnknownCommit)


class DrainDrone(amp.Command):
    """deployctl to hub: empty a machine (``drain``), or use it again; answered once saved.

    Refused where a route would lose its last ready target of a release, unless ``force``.
    """

    arguments = [(b"name", amp.Unicode()), (b"drain", amp.Boolean()), (b"force", amp.Boolean())]
    errors = declared(UnknownDrone)


class SetRoute(amp.Command):
    """deployctl to hub: put a setting in force; answered once saved, with its number in the route's history.

    ``shares`` is a list of ``[COMMIT, WEIGHT]``, COMMIT being whatever names a release. Refused for a release that is
    below its deploy's need, unless ``force``.
    """

    arguments = [
        (b"host", amp.Unicode()),
        (b"path", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"role", amp.Unicode()),
        (b"shares", Json()),
        (b"preview", amp.Boolean()),
        (b"sticky", amp.Boolean()),
        (b"https", amp.Boolean()),
        (b"force", amp.Boolean()),
    ]
    response = [(b"number", amp.Integer())]
    errors = declared(UnknownApp, UnknownCommit)


class RemoveRoute(amp.Command):
    """deployctl to hub: take a route away, with its history; answered once saved."""

    arguments = [(b"host", amp.Unicode()), (b"path", amp.Unicode())]
    errors = declared(UnknownRoute)


class RollBack(amp.Command):
    """deployctl to hub: put an earlier setting back; answered once saved, with the entry that was put back.

    ``to`` is the number of an entry, or 0 for the newest without the release that was introduced last.
    """

    arguments = [(b"host", amp.Unicode()), (b"path", amp.Unicode()), (b"to", amp.Integer())]
    response = [(b"number", amp.Integer()), (b"back_to", amp.Integer()), (b"setting", Json())]
    errors = declared(UnknownRoute)


class Promote(amp.Command):
    """deployctl to hub: lead a release to all requests of a route, step by step; answered once the first is saved.

    ``steps`` are percents that grow up to 100; ``every`` is the seconds between two.
    """

    arguments = [
        (b"host", amp.Unicode()),
        (b"path", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"steps", Json()),
        (b"every", amp.Float()),
        (b"force", amp.Boolean()),
    ]
    response = [(b"number", amp.Integer())]
    errors = declared(UnknownRoute, UnknownApp, UnknownCommit)


class Steer(amp.Command):
    """deployctl to hub: ``deed`` (``pause``, ``resume``, ``abort``) the promotion of a route; answered once saved."""

    arguments = [(b"host", amp.Unicode()), (b"path", amp.Unicode()), (b"deed", amp.Unicode())]
    response = [(b"number", amp.Integer())]
    errors = declared(UnknownRoute)


class RouteStatus(amp.Command):
    """deployctl to hub: whether the routes as they are now are followed by every live router.

    ``waiting`` is a list of ``{router reason}`` for those that do not follow yet; ``routers`` counts the live ones;
    ``revision`` is for AwaitChange.
    """

    response = [(b"routers", amp.Integer()), (b"waiting", Json()), (b"revision", amp.Integer())]
    errors = declared()


class ForgetDrone(amp.Command):
    """deployctl to hub: drop a drone that will not return; refused while it is connected."""

    arguments = [(b"name", amp.Unicode())]
    errors = declared(UnknownDrone)


class Status(amp.Command):
    """deployctl to hub: one document about the cluster."""

    response = [(b"document", Json())]
    errors = declared()


class SetConfig(amp.Command):
    """deployctl to hub: set ``values`` (a JSON object), unset ``unset`` in an app's config; answered once saved.

    The next deploy makes a release with it. ``number`` is its revision, ``names`` all that is set then; ``changed`` is
    false when it was so already.
    """

    arguments = [(b"app", amp.Unicode()), (b"values", amp.String()), (b"unset", Json())]
    response = [(b"number", amp.Integer()), (b"names", Json()), (b"changed", amp.Boolean())]
    errors = declared(UnknownApp)


class GetConfig(amp.Command):
    """deployctl to hub: the config of an app, or of its release ``commit`` (as everywhere; "": the newest config)."""

    arguments = [(b"app", amp.Unicode()), (b"commit", amp.Unicode())]
    response = [(b"number", amp.Integer()), (b"values", amp.String())]
    errors = declared(UnknownApp, UnknownCommit)


class Spawn(amp.Command):
    """deployctl to hub: add a process to a release, on its drones or on those named; answered once saved.

    ``env`` is a JSON object. ``ids`` are ``{DRONE: ID}`` of the instances.
    """

    arguments = [
        (b"app", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"drones", Json()),
        (b"role", amp.Unicode()),
        (b"argv", Json()),
        (b"env", amp.String()),
    ]
    response = [(b"release", amp.Unicode()), (b"commit", amp.Unicode()), (b"ids", Json())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone)


class Exec(amp.Command):
    """deployctl to hub: run a command once in a release's checkout and environment, on one of its drones.

    Or on those in ``drones``, or on ``every`` one. ``env`` is a JSON object. ``runs`` are ``{DRONE: RUN}``, which
    ExecRead and ExecWrite take; all end with this session.
    """

    arguments = [
        (b"app", amp.Unicode()),
        (b"commit", amp.Unicode()),
        (b"drones", Json()),
        (b"every", amp.Boolean()),
        (b"argv", Json()),
        (b"env", amp.String()),
    ]
    response = [(b"release", amp.Unicode()), (b"commit", amp.Unicode()), (b"runs", Json())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone, DroneAway)


class ExecRead(amp.Command):
    """deployctl to hub: what a run has printed since the last read (as ``wire.fleet.ReadRun``)."""

    arguments = [(b"run", amp.Unicode()), (b"wait", amp.Float())]
    response = [
        (b"stdout", amp.String()),
        (b"stderr", amp.String()),
        (b"ended", amp.Boolean()),
        (b"code", amp.Integer()),
        (b"failed", amp.Unicode()),
    ]
    errors = declared(UnknownInstance, DroneAway)


class ExecWrite(amp.Command):
    """deployctl to hub: input for a run (as ``wire.fleet.WriteRun``)."""

    arguments = [(b"run", amp.Unicode()), (b"data", amp.String()), (b"end", amp.Boolean())]
    response = [(b"room", amp.Boolean())]
    errors = declared(UnknownInstance, DroneAway)


class LogSources(amp.Command):
    """deployctl to hub, before Logs: the drones that may have logs of an app, and the releases that ``commit`` means.

    ``drones`` are rows ``{name connected}``, of ``drone`` or of all ("") that take the app; ``releases`` are names: of
    one that is named itself, else of all releases of the commit, and none, which means any, where ``commit`` is "".
    """

    arguments = [(b"app", amp.Unicode()), (b"commit", amp.Unicode()), (b"drone", amp.Unicode())]
    response = [(b"drones", Json()), (b"releases", Json())]
    errors = declared(UnknownApp, UnknownCommit, UnknownDrone)


class Logs(amp.Command):
    """deployctl to hub: what one drone's instances have printed (as ``wire.fleet.ReadLog``)."""

    arguments = [
        (b"drone", amp.Unicode()),
        (b"app", amp.Unicode()),
        (b"releases", Json()),
        (b"role", amp.Unicode()),
        (b"after", amp.Integer()),
        (b"newest", amp.Integer()),
        (b"wait", amp.Float()),
    ]
    response = [(b"data", amp.String()), (b"sources", Json()), (b"next", amp.Integer()), (b"more", amp.Boolean())]
    errors = declared(UnknownApp, UnknownDrone, DroneAway)
