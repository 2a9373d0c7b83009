"""``deployctl rollback | promote | pause | resume | abort``: from one release of a route to another."""

from __future__ import annotations

import click

from deployd.cli.route import PATH
from deployd.cli.settings import Settings
from deployd.cli.verbs import SECONDS, WORD, verb


@verb
@click.argument("host", type=WORD)
@PATH
@click.option("--to", type=click.IntRange(1, 10**9), metavar="N", help="The setting with this number.")
def rollback(settings: Settings, host: str, path: str, to: int | None) -> int:
    """Put back what HOST was before its newest release came; again, and it walks further back.

    That release's mixes with earlier ones are skipped. Nothing is started: what is put back must still run. The numbers
    are those of `deployctl route show HOST --history`.
    """
    from deployd.cli.route_words import route_key

    key = route_key(host, path)

    from deployd.cli.ending import ended
    from deployd.cli.routing import rolling_back
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: rolling_back(cluster, key, to or 0)))


@verb
@click.argument("host", type=WORD)
@click.argument("commit", type=WORD)
@click.option("--steps", default="5,25,100", metavar="P,...", help="Percents of the requests [5,25,100].")
@click.option("--every", type=SECONDS, default=60.0, metavar="S", help="The seconds between two steps [60].")
@PATH
@click.option("--force", is_flag=True, help="Also a release with fewer ready instances than its deploy needs.")
def promote(settings: Settings, host: str, commit: str, steps: str, every: float, path: str, force: bool) -> int:
    """Lead COMMIT to all requests for HOST, step by step.

    Returns when every router makes the first step; the hub makes the others, over its own restarts too. `pause`,
    `resume` and `abort` steer it, and `route show` tells how it does.
    """
    from deployd.cli import route_words

    key, percents = route_words.route_key(host, path), route_words.steps(steps)
    every = route_words.between_steps(every)

    from deployd.cli.ending import ended
    from deployd.cli.routing import promoting
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: promoting(cluster, key, commit, percents, every, force)))


@verb
@click.argument("host", type=WORD)
@PATH
def pause(settings: Settings, host: str, path: str) -> int:
    """Leave the promotion on HOST at the step where it is."""
    return _steer(settings, host, path, "pause")


@verb
@click.argument("host", type=WORD)
@PATH
def resume(settings: Settings, host: str, path: str) -> int:
    """Let a paused promotion go on."""
    return _steer(settings, host, path, "resume")


@verb
@click.argument("host", type=WORD)
@PATH
def abort(settings: Settings, host: str, path: str) -> int:
    """End the promotion on HOST, and put back what was before it."""
    return _steer(settings, host, path, "abort")


def _steer(settings: Settings, host: str, path: str, deed: str) -> int:
    from deployd.cli.route_words import route_key

    key = route_key(host, path)

    from deployd.cli.ending import ended
    from deployd.cli.routing import steering
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: steering(cluster, key, deed)))
