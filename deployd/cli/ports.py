"""``deployctl ports``."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb


@verb
@click.argument("app", type=WORD, required=False)
@click.option("--commit", type=WORD, metavar="C", help="Of this commit only: id, prefix, branch, tag or vN of APP.")
@click.option("--role", type=WORD, metavar="R", help="Of this role only.")
@click.option("--long", is_flag=True, help="Everything the registry knows of each row.")
def ports(settings: Settings, app: str | None, commit: str | None, role: str | None, long: bool) -> None:
    """What listens where, per commit. Needs no secret when --registry is given."""
    from deployd.cli.output import show
    from deployd.cli.port_rows import PortFilter, port_document, port_rows, port_table
    from deployd.cli.running import run

    wanted = PortFilter.parse(app, commit, role)
    rows = run(settings, lambda cluster: port_rows(cluster, wanted))
    show(settings, port_document(rows, long), port_table(rows, long))
