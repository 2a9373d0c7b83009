"""``deployctl demo``."""

from __future__ import annotations

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import verb


@verb
@click.option("--exit", "leave", is_flag=True, help="End after the last step; exit code 0 only if every step held.")
def demo(settings: Settings, leave: bool) -> int:
    """The whole walk-through on this machine, in a temporary directory, on free ports.

    Starts a registry, a hub, two drones and a router, pushes and deploys a small app of two processes twice, sends
    requests to the one, to both, back to the first, takes that down, and stays up until Ctrl-C.
    """
    from deployd.cli.demo_walk import show_demo

    return show_demo(leave)
