"""``deployctl config set | unset | ls``: an app's own environment."""

from __future__ import annotations

import sys
from typing import Any

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, group, in_group, verb

config = group("config", "An app's own environment; a release is a commit with its config.")


@in_group(config, "set")
@verb
@click.argument("app", type=WORD)
@click.argument("pairs", type=click.UNPROCESSED, nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--from-file", "file", metavar="F", help="Set what is in a file of NAME=VALUE lines; - is stdin.")
def config_set(settings: Settings, app: str, pairs: tuple[str, ...], file: str | None) -> None:
    """Set variables in the environment of APP. The next deploy makes a release with them.

    Other users of this machine can read the words of a command while it runs. `NAME=-` reads one value from stdin
    instead (without its last line end), and --from-file as many as you like.
    """
    from deployd.cli.config_words import given
    from deployd.model.names import app_name

    _set(settings, app_name(app), given(pairs, file, sys.stdin), ())


@in_group(config, "unset")
@verb
@click.argument("app", type=WORD)
@click.argument("names", type=WORD, nargs=-1, required=True, metavar="NAME...")
def config_unset(settings: Settings, app: str, names: tuple[str, ...]) -> None:
    """Take variables out of the environment of APP. The next deploy makes a release without them."""
    from deployd.model.names import app_name
    from deployd.model.variables import variable_name

    _set(settings, app_name(app), {}, tuple(variable_name(name) for name in names))


@in_group(config, "ls")
@verb
@click.argument("app", type=WORD)
@click.option("--commit", type=WORD, help="As the release of this commit (or vN) has it.")
def config_ls(settings: Settings, app: str, commit: str | None) -> None:
    """Show the environment of APP, with its values.

    It is the one that the next deploy will use, or that of a release.
    """
    from deployd.model.names import app_name

    name = app_name(app)

    from deployd.cli import dotenv
    from deployd.cli.output import on_terminal, show
    from deployd.cli.rendering import table
    from deployd.cli.running import run
    from deployd.wire.control import GetConfig
    from deployd.wire.documents import load

    answer = run(settings, lambda cluster: cluster.call(GetConfig, app=name, commit=commit or ""))
    values = load(answer["values"])
    if settings.json or on_terminal():
        rows = [{"name": each, "value": value} for each, value in values.items()]
        show(settings, values, table(rows, "name", "value"))
    elif values:
        click.echo(dotenv.written(values))


def _set(settings: Settings, app: str, values: dict[str, str], unset: tuple[str, ...]) -> None:
    from deployd.cli.output import say
    from deployd.cli.rendering import json_text
    from deployd.cli.running import run
    from deployd.wire.control import SetConfig
    from deployd.wire.documents import dump

    asked: dict[str, Any] = {"app": app, "values": dump(values), "unset": list(unset)}
    saved = run(settings, lambda cluster: cluster.call(SetConfig, **asked))
    if settings.json:
        click.echo(json_text({"app": app, "config": saved["number"], "names": saved["names"]}))
    revision = f"config of {app} is revision {saved['number']}"
    next_step = f"; `deployctl deploy {app} COMMIT` makes a release with it" if saved["changed"] else " already"
    say(settings, revision + next_step)
