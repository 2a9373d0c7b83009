"""``deployctl logs``: what the processes of an app have printed, on all drones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import MAX_SECONDS, WORD, verb

if TYPE_CHECKING:
    from deployd.cli.cluster import Cluster


@verb
@click.argument("what", type=WORD, metavar="APP[@COMMIT]")
@click.option("--role", type=WORD, metavar="R", help="Of this role only; `build` and `release` are roles too.")
@click.option("--drone", "drones", type=WORD, multiple=True, metavar="D", help="Of this drone only; may be repeated.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on, until Ctrl-C.")
@click.option(
    "-n",
    "newest",
    type=click.IntRange(0, 10_000),
    metavar="N",
    help="The newest so many lines [100; all with --since].",
)
@click.option("--since", type=WORD, metavar="T", help="What was printed after T: 10m, 2h, an ISO time, epoch seconds.")
def logs(
    settings: Settings,
    what: str,
    role: str | None,
    drones: tuple[str, ...],
    follow: bool,
    newest: int | None,
    since: str | None,
) -> None:
    """What the processes of APP have printed, merged in the order of time; kept after they and their release are gone.

    `TIME DRONE ID | TEXT`, or `*` in place of `|` before what deployd itself says of the process. With --json: one
    object a line with -f, else a list.
    """
    import time

    from deployd.cli.since import since as moment
    from deployd.model.names import app_name, role_name

    app, _, commit = what.partition("@")
    begin = None if since is None else moment(since, time.time())
    if newest is None and since is None:
        newest = 100

    from deployd.cli.blocking import Blocking
    from deployd.cli.log_output import LogOutput
    from deployd.cli.log_reading import Asked, LogReader
    from deployd.cli.output import complain
    from deployd.cli.running import run

    asked = Asked(app_name(app), commit, role_name(role) if role else "", drones, newest, begin, follow)
    output = LogOutput(settings.json, follow)

    async def read(cluster: Cluster) -> None:
        blocking = Blocking(cluster.clock, "output")
        reader = LogReader(cluster, asked, lambda lines: blocking.run(output.write, lines), complain, time.time)
        await reader.run()
        await blocking.run(output.close)
        if not reader.shown and newest != 0:
            when = "" if since is None else f" since {since}"
            complain(f"nothing that was printed by {what}{when} is kept on these drones")

    try:
        run(settings, read, MAX_SECONDS)
    except KeyboardInterrupt:
        # That is how one stops to follow.
        if not follow:
            raise
