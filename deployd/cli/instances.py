"""``deployctl stop | restart | retire``: change what runs, and wait until it is so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb

if TYPE_CHECKING:
    from deployd.cli.settling import Settled


@verb
@click.argument("ids", type=WORD, nargs=-1, required=True, metavar="ID...")
def stop(settings: Settings, ids: tuple[str, ...]) -> int:
    """Stop the processes ID... (as `deployctl ps` names them) until they are restarted or deployed again."""
    from deployd.cli.running import run
    from deployd.cli.settling import stopping

    return _ended(settings, run(settings, lambda cluster: stopping(cluster, ids)))


@verb
@click.argument("ids", type=WORD, nargs=-1, required=True, metavar="ID...")
def restart(settings: Settings, ids: tuple[str, ...]) -> int:
    """Start the processes ID... anew, with the same id and port; stopped ones too."""
    from deployd.cli.running import run
    from deployd.cli.settling import restarting

    return _ended(settings, run(settings, lambda cluster: restarting(cluster, ids)))


@verb
@click.argument("app", type=WORD)
@click.argument("commit", type=WORD)
def retire(settings: Settings, app: str, commit: str) -> int:
    """Take a release of APP down on every drone, also on those that return later, and remove its checkouts.

    COMMIT is an id, prefix, branch, tag or vN; a commit means its newest release.
    """
    from deployd.cli.running import run
    from deployd.cli.settling import retiring
    from deployd.model.names import app_name

    name = app_name(app)
    return _ended(settings, run(settings, lambda cluster: retiring(cluster, name, commit)))


def _ended(settings: Settings, settled: Settled) -> int:
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
