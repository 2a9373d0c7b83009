"""``deployctl stop | restart``: change what runs, and wait until it is so."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb


@verb
@click.argument("ids", type=WORD, nargs=-1, required=True, metavar="ID...")
def stop(settings: Settings, ids: tuple[str, ...]) -> int:
    """Stop the processes ID... (as `deployctl ps` names them) until they are restarted or deployed again."""
    from deployd.cli.ending import ended
    from deployd.cli.running import run
    from deployd.cli.settling import stopping

    return ended(settings, run(settings, lambda cluster: stopping(cluster, ids)))


@verb
@click.argument("ids", type=WORD, nargs=-1, required=True, metavar="ID...")
def restart(settings: Settings, ids: tuple[str, ...]) -> int:
    """Start the processes ID... anew, with the same id and port; stopped ones too."""
    from deployd.cli.ending import ended
    from deployd.cli.running import run
    from deployd.cli.settling import restarting

    return ended(settings, run(settings, lambda cluster: restarting(cluster, ids)))
