"""``deployctl deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, verb

if TYPE_CHECKING:
    from deployd.cli.deployment import Deployment, Wanted

DEPLOY_TIMEOUT = 120.0


@verb
@click.argument("app", type=WORD, required=False)
@click.argument("commit", type=WORD, required=False)
@click.option("--drone", "drones", type=WORD, multiple=True, metavar="NAME", help="On this drone; may be repeated.")
@click.option("--where", type=WORD, multiple=True, metavar="K=V", help="On all drones with this label, now and later.")
@click.option(
    "--need", type=WORD, default="all", metavar="all|N|P%", help="How many of the drones must be ready [all]."
)
@click.option("--detach", is_flag=True, help="Print the release and do not wait.")
def deploy(
    settings: Settings,
    app: str | None,
    commit: str | None,
    drones: tuple[str, ...],
    where: tuple[str, ...],
    need: str,
    detach: bool,
) -> int:
    """Put COMMIT (an id, prefix, branch, tag or vN) of APP on every drone, beside the earlier ones, and wait.

    In a git work tree, APP is the path of the remote that points at the hub, and COMMIT is HEAD.
    """
    from deployd.cli.deployment import Wanted
    from deployd.cli.work_tree import read_work_tree

    tree = read_work_tree(Path.cwd()) if app is None or commit is None else None
    wanted = Wanted.parse(app, commit, drones, where, need, tree)
    return _deploy(settings, wanted, detach)


def _deploy(settings: Settings, wanted: Wanted, detach: bool) -> int:
    from deployd.cli.deploying import Deploying
    from deployd.cli.output import complain
    from deployd.cli.progress import progress
    from deployd.cli.running import run

    with progress(settings, detach) as show:
        deploying = Deploying(wanted, show, detach)
        try:
            deployment = run(settings, deploying.work, DEPLOY_TIMEOUT)
        except KeyboardInterrupt:
            if deploying.begun is None:
                raise
            complain(f"detached: {deploying.begun.title} goes on without you; deploy it again to watch")
            return 130
    return _ended(settings, deployment, detach)


def _ended(settings: Settings, deployment: Deployment, detach: bool) -> int:
    """Say how it ended; the exit code."""
    from deployd.cli.output import complain, say
    from deployd.cli.rendering import json_text

    if settings.json:
        click.echo(json_text(deployment.document()))
    if deployment.failed and not detach:
        complain(deployment.complaint())
        return 1
    say(settings, deployment.release if detach else deployment.verdict())
    return 0
