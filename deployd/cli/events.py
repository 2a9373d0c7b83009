"""``deployctl events``: what happened, when, and who asked for it."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import MAX_SECONDS, WORD, verb


@verb
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C or --timeout.")
@click.option("--app", type=WORD, help="Of this app only.")
@click.option(
    "-n", "newest", type=click.IntRange(0, 10_000), default=100, metavar="N", help="The newest so many [100]."
)
def events(settings: Settings, follow: bool, app: str | None, newest: int) -> None:
    """What happened, when, and who asked for it, the newest last. With --json -f: one object a line."""
    from deployd.model.names import app_name

    name = "" if app is None else app_name(app)

    from deployd.cli.output import say, show, tell
    from deployd.cli.running import run
    from deployd.cli.telling import event_line, event_table, following, happened

    if not follow:
        rows = run(settings, lambda cluster: happened(cluster, name, newest))
        show(settings, rows, event_table(rows))
        return

    def told(row: dict[str, object]) -> None:
        if settings.json:
            tell(row)
        say(settings, event_line(row))

    run(settings, lambda cluster: following(cluster, name, newest, told), MAX_SECONDS)
