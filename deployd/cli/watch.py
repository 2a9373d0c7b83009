"""``deployctl watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import MAX_SECONDS, WORD, verb

if TYPE_CHECKING:
    from deployd.cli.cluster import Cluster


@verb
@click.argument("pattern", type=WORD, required=False, metavar="[ROLE[@RANGE]]")
@click.option("--namespace", type=WORD, metavar="N", help="In this namespace only; of a commit 4 digits are enough.")
@click.option("--app", type=WORD, metavar="A", help="Of this app only.")
@click.option("--release", type=WORD, metavar="vN", help="Of this release only.")
@click.option(
    "--since", type=WORD, metavar="REV", help="What came after REV or EPOCH.REV, or `now` [all rows, then on]."
)
@click.option("-v", "--verbose", is_flag=True, help="The whole row in each line.")
def watch(
    settings: Settings,
    pattern: str | None,
    namespace: str | None,
    app: str | None,
    release: str | None,
    since: str | None,
    verbose: bool,
) -> None:
    """The rows registered as ROLE, in a version within RANGE, and each change of them, until Ctrl-C or --timeout.

    `put ROLE@VERSION ADDRESS NAMESPACE`, `delete ...`, and `reset` before all rows come anew. With --json: one object a
    line, `{type revision row}`. It goes on over lost connections, without loss or repetition.
    """
    from deployd.cli.query_words import Pattern
    from deployd.cli.watch_words import LineOutput, position

    wanted, begin = Pattern.parse(pattern, namespace, app, release), position(since)

    import sys

    from twisted.internet.defer import Deferred

    from deployd.cli.blocking import Blocking
    from deployd.cli.output import complain
    from deployd.cli.running import run
    from deployd.cli.unread import while_read
    from deployd.cli.watch_rows import RowStream

    output = LineOutput(settings.json, verbose)

    async def follow(cluster: Cluster) -> None:
        blocking = Blocking(cluster.clock, "output")
        stream = RowStream(cluster, wanted.rows, begin, lambda lines: blocking.run(output.write, lines), complain)
        await while_read(cluster.clock, sys.stdout.fileno(), Deferred.fromCoroutine(stream.run()))

    run(settings, follow, MAX_SECONDS)
