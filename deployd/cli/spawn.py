"""``deployctl spawn``: one more process of a release."""

from __future__ import annotations

import sys

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb

SPAWN_TIMEOUT = 60.0


@verb
@click.argument("app", type=WORD)
@click.argument("commit", type=WORD)
@click.argument("command", type=click.UNPROCESSED, nargs=-1, required=True, metavar="-- COMMAND ARG...")
@click.option("--drone", "drones", type=WORD, multiple=True, metavar="NAME", help="On this drone; may be repeated.")
@click.option("--role", type=WORD, metavar="ROLE", help="In this role, with its port if it has one [run, without].")
@click.option(
    "--env",
    type=click.UNPROCESSED,
    multiple=True,
    metavar="NAME=VALUE",
    help="In its environment; may be repeated. NAME=- reads the value from stdin.",
)
def spawn(
    settings: Settings,
    app: str,
    commit: str,
    command: tuple[str, ...],
    drones: tuple[str, ...],
    role: str | None,
    env: tuple[str, ...],
) -> int:
    """Run COMMAND in the release COMMIT (an id, prefix, branch, tag or vN) of APP on all its drones, until stopped.

    It runs without a shell, in the release's checkout and environment, and is restarted when it ends. `deployctl ps`
    lists it; `stop` and `restart` treat it as everything else; it goes with its release.
    """
    from deployd.cli.config_words import own
    from deployd.cli.ending import ended
    from deployd.cli.running import run
    from deployd.cli.settling import Process, spawning
    from deployd.model.names import app_name
    from deployd.model.words import check_command

    check_command(command, "the command")
    process = Process(app_name(app), commit, drones, role or "", command, own(env, sys.stdin))
    return ended(settings, run(settings, lambda cluster: spawning(cluster, process), SPAWN_TIMEOUT))
