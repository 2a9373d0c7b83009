"""Where rendered text goes: JSON for programs, tables and colour on a terminal, plain columns in a pipe."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from deployd.cli.rendering import Table, json_text, plain, printable
from deployd.cli.settings import Settings

STATE_STYLES = {
    "ready": "green",
    "deployed": "green",
    "connected": "green",
    "failed": "red",
    "backoff": "red",
    "away": "yellow",
    "draining": "yellow",
    "orphan": "yellow",
    "retired": "dim",
    "stopped": "dim",
}

LONGEST_WHOLE = 24
GAP = 2


def on_terminal() -> bool:
    return sys.stdout.isatty()


def show(settings: Settings, document: Any, shown: Table) -> None:
    """``document`` as JSON where that was asked for, else the table."""
    if settings.json:
        click.echo(json_text(document))
    elif on_terminal():
        from rich.console import Console

        console = Console(highlight=False)
        console.width = max(console.width, _least_width(shown))
        console.print(rich_table(shown))
    else:
        click.echo(plain(shown))


def rich_table(shown: Table) -> Any:
    """The table as rich draws it, with known states in colour."""
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, header_style="bold")
    for title, width in zip(shown.header, shown.widths, strict=True):
        drawn.add_column(title, no_wrap=_is_whole(title, width))
    for row in shown.rows:
        drawn.add_row(*(Text(text, style=STATE_STYLES.get(text, "")) for text in row))
    return drawn


def _is_whole(title: str, width: int) -> bool:
    """Whether no cell of a column is cut: ids are there to be copied, and half a port says nothing."""
    return width <= LONGEST_WHOLE or title in ("ID", "APP", "DRONE", "COMMIT", "ADDRESS")


def _least_width(shown: Table) -> int:
    """What a table takes that cuts nothing; a terminal that is narrower than that wraps the lines itself."""
    columns = zip(shown.header, shown.widths, strict=True)
    return sum(width if _is_whole(title, width) else LONGEST_WHOLE for title, width in columns) + GAP * len(
        shown.header
    )


def say(settings: Settings, sentence: str) -> None:
    """A sentence about what was done; silent where the answer is JSON."""
    if not settings.json:
        click.echo(printable(sentence))


def tell(row: Any) -> None:
    """One document of a stream, on a line of its own."""
    click.echo(json.dumps(row))


def complain(text: str) -> None:
    """To stderr."""
    click.echo(printable(text), err=True)
