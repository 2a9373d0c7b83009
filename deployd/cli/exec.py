"""``deployctl exec``: a command in a release's checkout and environment, as if it ran here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import MAX_SECONDS, WORD, verb

if TYPE_CHECKING:
    from deployd.cli.cluster import Cluster

FAILED = 125


@verb
@click.argument("app", type=WORD, metavar="APP")
@click.argument("commit", type=WORD, metavar="COMMIT")
@click.option("--drone", "drones", type=WORD, multiple=True, metavar="D", help="On this drone; may be repeated.")
@click.option("--all", "every", is_flag=True, help="On every drone that runs the release [one of them].")
@click.option(
    "--env",
    type=click.UNPROCESSED,
    multiple=True,
    metavar="NAME=VALUE",
    help="In its environment; may be repeated. NAME=- reads the value from stdin.",
)
@click.option("--no-stdin", is_flag=True, help="Give it no input, and read none here.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def exec_(
    settings: Settings,
    app: str,
    commit: str,
    drones: tuple[str, ...],
    every: bool,
    env: tuple[str, ...],
    no_stdin: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND once where APP's release of COMMIT runs: in its checkout, with its config.

    stdin, stdout and stderr come through, and deployctl ends with COMMAND's own code; with 125 when it could not be
    run or watched to its end. On several drones each line has its drone before it, all get the same input, and the
    highest code counts. Ctrl-C ends it.
    """
    from deployd.cli.config_words import own
    from deployd.cli.exec_run import Asked, Execution
    from deployd.cli.output import complain
    from deployd.cli.running import run
    from deployd.cli.standard import Standard
    from deployd.errors import DeploydError, UsageError
    from deployd.model.names import app_name
    from deployd.model.words import check_command

    check_command(command, "the command")
    asked = Asked(app_name(app), commit, drones, every, command, own(env, sys.stdin))

    async def work(cluster: Cluster) -> int:
        streams = Standard(cluster.clock, not no_stdin)
        return await Execution(cluster, asked, streams, lambda text: complain(f"deployctl: {text}")).run()

    try:
        return run(settings, work, MAX_SECONDS)
    except UsageError:
        raise
    except DeploydError as error:
        complain(f"deployctl: {error}")
        return FAILED
