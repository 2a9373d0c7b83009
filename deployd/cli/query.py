"""``deployctl query``."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import SECONDS, WORD, verb

NOT_FOUND = 1


@verb
@click.argument("pattern", type=WORD, required=False, metavar="[ROLE[@RANGE]]")
@click.option("--namespace", type=WORD, metavar="N", help="In this namespace only; of a commit 4 digits are enough.")
@click.option("--app", type=WORD, metavar="A", help="Of this app only.")
@click.option("--release", type=WORD, metavar="vN", help="Of this release only.")
@click.option(
    "--meta", type=click.UNPROCESSED, multiple=True, metavar="K=V", help="With this metadata; may be repeated."
)
@click.option("--near", type=WORD, metavar="COMMIT|APP:vN", help="Rows of this commit or release first.")
@click.option(
    "--wait", type=SECONDS, metavar="S", help="Where nothing matches, wait up to S seconds until something does."
)
@click.option("--field", "field", type=WORD, metavar="F,...", help="Print these fields only: host,port,meta.KEY.")
def query(
    settings: Settings,
    pattern: str | None,
    namespace: str | None,
    app: str | None,
    release: str | None,
    meta: tuple[str, ...],
    near: str | None,
    wait: float | None,
    field: str | None,
) -> int:
    """What is registered as ROLE, in a version within RANGE as npm writes it: `http@^1.2`, `http@>=2 <3`.

    Nothing found: no rows, and exit code 0; with --wait a sentence, and 1. Needs no secret when --registry is given.
    """
    from deployd.cli.query_words import Pattern, field_line, fields, query_table, taken

    wanted, names = Pattern.parse(pattern, namespace, app, release, meta), fields(field)

    from deployd.cli.output import complain, show
    from deployd.cli.query_rows import queried
    from deployd.cli.rendering import json_text
    from deployd.cli.running import DEFAULT_TIMEOUT, run

    seconds = wait or 0.0
    rows = run(settings, lambda cluster: queried(cluster, wanted, near or "", seconds), seconds + DEFAULT_TIMEOUT)
    found = bool(rows) or wait is None
    if names and settings.json:
        click.echo(json_text([taken(row, names) for row in rows]))
    elif names:
        for row in rows:
            click.echo(field_line(row, names))
    elif found or settings.json:
        show(settings, rows, query_table(rows))
    if found:
        return 0
    complain(f"deployctl: nothing matched within {seconds:g} s: {wanted.text}")
    return NOT_FOUND
