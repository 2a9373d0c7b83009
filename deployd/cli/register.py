"""``deployctl register``: a service of one's own in the port table."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from uuid import uuid4

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import MAX_SECONDS, WORD, verb

PORTS = "20000-29999"


@verb
@click.argument("what", type=WORD, metavar="ROLE[@VERSION]")
@click.option("--port", type=click.IntRange(1, 65535), metavar="P", help="This port [a free one of the range].")
@click.option("--port-range", type=WORD, default=PORTS, metavar="FIRST-LAST", help=f"Where to look for one [{PORTS}].")
@click.option("--host", type=WORD, metavar="H", help="The host of the row [this machine, as the registry sees it].")
@click.option("--namespace", type=WORD, metavar="N", help="In this namespace [default].")
@click.option("--meta", type=click.UNPROCESSED, multiple=True, metavar="K=V", help="Metadata; may be repeated.")
@click.option("--meta-json", type=click.UNPROCESSED, metavar="JSON", help="Metadata, all of it, as a JSON object.")
@click.option("--id", "row_id", type=WORD, metavar="ID", help="The row's id [one made from the key and ROLE].")
@click.option(
    "--check",
    type=click.Choice(["tcp", "none"]),
    default="tcp",
    help="Register while it accepts connections, or always [tcp].",
)
@click.option("--no-restart", is_flag=True, help="End when COMMAND ends, with its exit code.")
@click.option("--grace", type=click.FloatRange(0, 3600), default=10.0, metavar="S", help="Between TERM and KILL [10].")
@click.option("--port-argument", is_flag=True, help="Give COMMAND the port as its last argument, too.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def register(
    settings: Settings,
    what: str,
    port: int | None,
    port_range: str,
    host: str | None,
    namespace: str | None,
    meta: tuple[str, ...],
    meta_json: str | None,
    row_id: str | None,
    check: str,
    no_restart: bool,
    grace: float,
    port_argument: bool,
    command: tuple[str, ...],
) -> int:
    """Register ROLE for as long as COMMAND listens on the port that it finds as $PORT.

    COMMAND is restarted when it ends. INT and TERM free the row and end COMMAND with all that it has started. Without
    COMMAND: registers what already listens on --port. With --key FILE the same row comes back after a restart.
    """
    from deployd.cli.register_words import port_range as parsed_range
    from deployd.cli.register_words import registration, version_warning
    from deployd.errors import UsageError
    from deployd.model.words import check_command

    row = registration(what, namespace=namespace, host=host, meta=meta, meta_json=meta_json, id=row_id)
    ports = parsed_range(port_range)
    if command:
        check_command(command, "the command")
    elif port is None:
        raise UsageError("say what to run, after --, or with --port what listens already")

    from deployd.processes.guarding import Guard
    from deployd.processes.hardening import make_undumpable

    # COMMAND may be of our own user, and our environment has the secret.
    with suppress(OSError):
        make_undumpable()
    instance = f"register-{uuid4().hex}"
    guard = Guard(instance, grace) if command else None

    from attrs import evolve

    from deployd.cli.output import complain
    from deployd.cli.register_row import Terms
    from deployd.cli.register_run import Asked, registered
    from deployd.cli.running import run

    def say(sentence: str, line: object) -> None:
        if settings.json:
            click.echo(json.dumps(line or {"type": "note", "text": sentence}), err=True)
        else:
            complain(f"deployctl: {sentence}")

    if warning := version_warning(row):
        say(warning, None)
    asked = Asked(
        row=row,
        instance=instance,
        port=port,
        ports=ports,
        argv=command,
        env=dict(os.environ),
        key=settings.key,
        check=check == "tcp",
        port_argument=port_argument,
        terms=Terms(not no_restart, grace, settings.key is not None),
        timeout=settings.timeout,
    )
    try:
        return run(evolve(settings, timeout=None), lambda cluster: registered(cluster, asked, guard, say), MAX_SECONDS)
    finally:
        if guard is not None:
            guard.close()
