"""``deployctl ps | drones | apps | releases | status``: what there is."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb


@verb
@click.option("--app", type=WORD, help="Of this app only.")
@click.option("--commit", type=WORD, help="Of this commit or release only.")
@click.option("--drone", type=WORD, help="On this drone only.")
def ps(settings: Settings, app: str | None, commit: str | None, drone: str | None) -> None:
    """The processes on all drones."""
    from deployd.cli.output import show
    from deployd.cli.rendering import COMMIT, nonzero, table
    from deployd.cli.running import run

    rows = run(settings, lambda cluster: cluster.rows("instances", app or "", commit or "", drone or ""))
    columns = ("id", "app", "release", COMMIT, "role", "drone", "state", nonzero("port"), nonzero("pid"))
    show(settings, rows, table(rows, *columns, "restarts", "reason"))


@verb
@click.option("--forget", type=WORD, metavar="NAME", help="Drop a drone that will not return.")
def drones(settings: Settings, forget: str | None) -> None:
    """The machines that run apps."""
    from deployd.cli.output import say, show
    from deployd.cli.rendering import json_text, table
    from deployd.cli.running import run

    if forget is not None:
        from deployd.wire.control import ForgetDrone

        run(settings, lambda cluster: cluster.call(ForgetDrone, name=forget))
        if settings.json:
            click.echo(json_text({"forgotten": forget}))
        say(settings, f"{forget} is forgotten; a drone of that name that joins is a new one")
        return
    rows = run(settings, lambda cluster: cluster.rows("drones"))
    show(settings, rows, table(rows, "name", "state", "labels", "address", "limits"))


@verb
def apps(settings: Settings) -> None:
    """The repositories on the hub; `git push` makes one."""
    from deployd.cli.output import show
    from deployd.cli.rendering import short, table
    from deployd.cli.running import run

    rows = run(settings, lambda cluster: cluster.rows("apps"))
    show(settings, rows, table(rows, "app", ("head", lambda row: short(row.get("head") or ""))))


@verb
@click.argument("app", type=WORD)
def releases(settings: Settings, app: str) -> None:
    """What was deployed of APP, and how that went."""
    from deployd.cli.output import show
    from deployd.cli.rendering import COMMIT, nonzero, table
    from deployd.cli.running import run
    from deployd.model.names import app_name

    name = app_name(app)
    rows = run(settings, lambda cluster: cluster.rows("releases", app=name))
    pinned = ("pinned", lambda row: "pinned" if row.get("pinned") else "")
    show(settings, rows, table(rows, "app", "release", COMMIT, nonzero("config"), "state", pinned, "reason"))


@verb
def status(settings: Settings) -> None:
    """The cluster in a few lines."""
    from deployd.cli.rendering import json_text, outline
    from deployd.cli.running import run
    from deployd.wire.control import Status

    document = run(settings, lambda cluster: cluster.call(Status))["document"]
    click.echo(json_text(document) if settings.json else outline(document))
