"""``deployctl route set | show | rm``: who sees which commit."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, group, in_group, verb

PATH = click.option("--path", type=WORD, default="/", metavar="P", help="Only for paths that begin with this [/].")

route = group("route", "Who sees which commit: the routes of the routers.")


@in_group(route, "set")
@verb
@click.argument("host", type=WORD)
@click.argument("target", type=WORD, metavar="APP:ROLE")
@click.argument("commits", type=WORD, nargs=-1, required=True, metavar="COMMIT[=WEIGHT]...")
@click.option("--preview", is_flag=True, help="Any commit can be asked for by name: COMMIT.HOST, or X-Deployd-Commit.")
@click.option("--sticky", is_flag=True, help="A client stays with its release, by a cookie, while that has weight.")
@PATH
@click.option("--https", is_flag=True, help="Plain HTTP is answered with a redirect to HTTPS.")
@click.option("--force", is_flag=True, help="Also to a release with fewer ready instances than its deploy needs.")
def route_set(
    settings: Settings,
    host: str,
    target: str,
    commits: tuple[str, ...],
    preview: bool,
    sticky: bool,
    path: str,
    https: bool,
    force: bool,
) -> int:
    """Send the requests for HOST to these releases of APP, and wait until every router does.

    HOST is a name, *.NAME, or * for any. COMMIT is an id, prefix, branch, tag or vN; of the sum of all weights, WEIGHT
    requests go to it (1 unless said). It replaces what the route was, and leaves all other routes alone.
    """
    from deployd.cli.route_words import app_and_role, route_key, shares

    key, (app, role), given = route_key(host, path), app_and_role(target), shares(commits)

    from deployd.cli.ending import ended
    from deployd.cli.routing import setting
    from deployd.cli.running import run

    options = {"preview": preview, "sticky": sticky, "https": https, "force": force}
    return ended(settings, run(settings, lambda cluster: setting(cluster, key, app, role, given, **options)))


@in_group(route, "show")
@verb
@click.argument("host", type=WORD, required=False)
@click.option("--path", type=WORD, metavar="P", help="The route of this path only.")
@click.option("--history", is_flag=True, help="Every setting, the newest last: when, who, what.")
def route_show(settings: Settings, host: str | None, path: str | None, history: bool) -> None:
    """The routes, and what the routers counted for each release since they were started."""
    from deployd.cli.route_words import route_key
    from deployd.errors import UsageError

    if host is None and path is not None:
        raise UsageError("--path is of a host; name it: deployctl route show HOST --path P")
    asked = "" if host is None else route_key(host, path or "/")

    from deployd.cli.output import show
    from deployd.cli.route_rows import history_table, route_table
    from deployd.cli.running import run

    kind = "history" if history else "routes"
    rows = run(settings, lambda cluster: cluster.rows(kind, app=str(asked)))
    if path is not None:
        rows = [row for row in rows if row.get("path") == route_key("*", path).path]
    show(settings, rows, history_table(rows) if history else route_table(rows))


@in_group(route, "rm")
@verb
@click.argument("host", type=WORD)
@PATH
def route_rm(settings: Settings, host: str, path: str) -> int:
    """Take the route of HOST away, with its history, and wait until no router has it any more."""
    from deployd.cli.route_words import route_key

    key = route_key(host, path)

    from deployd.cli.ending import ended
    from deployd.cli.routing import removing
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: removing(cluster, key)))
