"""How a deploy looks while it waits: a live table on a terminal, a line a change in a pipe, nothing for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from deployd.cli.deployment import Deployment
from deployd.cli.output import on_terminal, rich_table
from deployd.cli.rendering import drone_line, printable, table
from deployd.cli.settings import Settings

Show = Callable[[Deployment], None]


@contextmanager
def progress(settings: Settings, detach: bool) -> Iterator[Show]:
    """A function to call with the deployment whenever it has changed."""
    if settings.json or detach:
        yield lambda deployment: None
    elif on_terminal():
        with _live() as show:
            yield show
    else:
        yield Lines(click.echo)


class Lines:
    """One line for the release, then one for each change of a drone."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._last: dict[str, str] = {}
        self._titled = False

    def __call__(self, deployment: Deployment) -> None:
        if not self._titled:
            self._write(printable(f"deploying {deployment.title}"))
            self._titled = True
        for row in deployment.drones:
            line = drone_line(row)
            if self._last.get(str(row.get("drone"))) != line:
                self._last[str(row.get("drone"))] = line
                self._write(line)


@contextmanager
def _live() -> Iterator[Show]:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    # Drawn by hand after each change: rich's own refreshing would need a thread.
    with Live(auto_refresh=False) as live:

        def show(deployment: Deployment) -> None:
            shown = table(deployment.drones, "drone", "state", "reason")
            live.update(Group(Text(f"deploying {deployment.title}"), rich_table(shown)), refresh=True)

        yield show
