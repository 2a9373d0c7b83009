"""How a verb that changed something ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings

if TYPE_CHECKING:
    from deployd.cli.settling import Settled


def ended(settings: Settings, settled: Settled) -> int:
    """Say what happened; the exit code."""
    from deployd.cli.output import complain, say
    from deployd.cli.rendering import json_text

    if settings.json:
        click.echo(json_text(settled.document))
    for sentence in settled.done:
        say(settings, sentence)
    for sentence in settled.undone:
        complain(f"deployctl: {sentence}")
    return settled.exit_code
