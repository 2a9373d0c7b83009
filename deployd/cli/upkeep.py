"""``deployctl retire | pin | unpin | drain | undrain | app set``: what is kept, and what goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, group, in_group, verb


@verb
@click.argument("app", type=WORD, required=False)
@click.argument("commit", type=WORD, required=False)
@click.option("--unused", is_flag=True, help="All releases (of APP) that nobody uses, and that no policy keeps.")
@click.option("--dry-run", is_flag=True, help="With --unused: only say what would go, and why the others stay.")
@click.option("--force", is_flag=True, help="With --unused: do not ask.")
def retire(settings: Settings, app: str | None, commit: str | None, unused: bool, dry_run: bool, force: bool) -> int:
    """Take a release of APP down on every drone, also on those that return later, and remove its checkouts.

    Requests under way are let end first. COMMIT is an id, prefix, branch, tag or vN; a commit means its newest release.
    What is routed or pinned is refused. With --unused: every release that is neither routed nor pinned, is not the last
    good one of its app, and is not kept by the app's policy (`app set`).
    """
    from deployd.errors import UsageError
    from deployd.model.names import app_name

    if unused and commit is not None:
        raise UsageError("give APP COMMIT or --unused [APP], not both")
    if not unused and (app is None or commit is None):
        raise UsageError("name the app and the commit, or say --unused: deployctl retire APP COMMIT")
    if not unused and (dry_run or force):
        raise UsageError("--dry-run and --force go with --unused")
    name = "" if app is None else app_name(app)
    if unused:
        return _retire_unused(settings, name, dry_run, force)

    from deployd.cli.ending import ended
    from deployd.cli.retiring import retiring
    from deployd.cli.running import run

    assert commit is not None
    return ended(settings, run(settings, lambda cluster: retiring(cluster, name, commit)))


def _retire_unused(settings: Settings, app: str, dry_run: bool, force: bool) -> int:
    from deployd.cli import retiring
    from deployd.cli.ending import ended
    from deployd.cli.output import on_terminal, show
    from deployd.cli.rendering import COMMIT, counted, table
    from deployd.cli.running import run

    def told(rows: Sequence[Mapping[str, Any]]) -> None:
        if not settings.json:
            goes = ("goes", lambda row: "goes" if row["goes"] else "stays")
            show(settings, rows, table(rows, "app", "release", COMMIT, goes, "reason"))

    if on_terminal() and sys.stdin.isatty() and not (settings.json or dry_run or force):
        rows = run(settings, lambda cluster: retiring.unused(cluster, app, dry_run=True))
        told(rows)
        going = sum(bool(row["goes"]) for row in rows)
        if not going:
            return 0
        click.confirm(f"retire {counted(going, 'release')}?", abort=True)
        # A reactor runs only once in a process; and the deadline is not for the person who thinks.
        words = sys.argv[1:]
        end = words.index("--") if "--" in words else len(words)
        again = [*words[:end], "--force", *words[end:]]
        os.execv(sys.executable, [sys.executable, "-P", "-m", "deployd.cli", *again])
    return ended(settings, run(settings, lambda cluster: retiring.retiring_unused(cluster, app, dry_run, told)))


@verb
@click.argument("app", type=WORD)
@click.argument("commit", type=WORD)
def pin(settings: Settings, app: str, commit: str) -> None:
    """Keep a release of APP: nothing retires it until `unpin`."""
    _pin(settings, app, commit, pinned=True)


@verb
@click.argument("app", type=WORD)
@click.argument("commit", type=WORD)
def unpin(settings: Settings, app: str, commit: str) -> None:
    """Let a pinned release of APP be retired again."""
    _pin(settings, app, commit, pinned=False)


def _pin(settings: Settings, app: str, commit: str, pinned: bool) -> None:
    from deployd.model.names import app_name

    name = app_name(app)

    from deployd.cli.output import say
    from deployd.cli.rendering import json_text, named_release
    from deployd.cli.running import run
    from deployd.wire.control import Pin

    answer = run(settings, lambda cluster: cluster.call(Pin, app=name, commit=commit, pinned=pinned))
    release, commit = answer["release"], answer["commit"]
    if settings.json:
        click.echo(json_text({"app": name, "commit": commit, "release": release, "pinned": pinned}))
    say(settings, f"{named_release(name, release, commit)} is {'pinned' if pinned else 'not pinned any more'}")


@verb
@click.argument("drone", type=WORD)
@click.option("--force", is_flag=True, help="Also where a route loses its last ready target of a release.")
def drain(settings: Settings, drone: str, force: bool) -> int:
    """Empty the machine DRONE before maintenance, and wait until nothing runs there.

    Requests under way are let end; nothing is started there until `undrain`.
    """
    from deployd.model.names import drone_name

    name = drone_name(drone)

    from deployd.cli.ending import ended
    from deployd.cli.retiring import draining
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: draining(cluster, name, force)))


@verb
@click.argument("drone", type=WORD)
def undrain(settings: Settings, drone: str) -> int:
    """Use the machine DRONE again: what belongs there is started."""
    from deployd.model.names import drone_name

    name = drone_name(drone)

    from deployd.cli.ending import ended
    from deployd.cli.retiring import undraining
    from deployd.cli.running import run

    return ended(settings, run(settings, lambda cluster: undraining(cluster, name)))


app = group("app", "What an app's owner decides about it: its policy.")


@in_group(app, "set")
@verb
@click.argument("name", type=WORD, metavar="APP")
@click.argument("pairs", type=WORD, nargs=-1, required=True, metavar="KEY=VALUE...")
def app_set(settings: Settings, name: str, pairs: tuple[str, ...]) -> None:
    """Set the policy of APP; `KEY=` goes back to the default. Prints all that is set then.

    keep=N: how many good releases `retire --unused` leaves. keep-for=T: and all that are younger (90s, 12h, 7d).
    drain=T: how long requests under way may hold up a planned stop. allow-force=B, allow-delete=B: the branches that a
    push may rewrite, and delete (all, off, or patterns: main,feature/*). deploy-branch=B: what lands there is deployed.
    public=on: everybody may read its repository, without the secret. default-branch=B: what a clone checks out.
    """
    from deployd.model.invalid import Invalid
    from deployd.model.names import app_name, shown
    from deployd.model.policy import Policy

    name = app_name(name)
    values: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in values:
            problem = "is given twice" if equals else "is no setting: write KEY=VALUE"
            raise Invalid(f"{shown(key if equals else pair)} {problem}")
        values[key] = value
    Policy().with_values(values)

    from deployd.cli.output import say
    from deployd.cli.rendering import cell, json_text
    from deployd.cli.running import run
    from deployd.wire.control import SetPolicy

    saved = run(settings, lambda cluster: cluster.call(SetPolicy, app=name, values=values))["values"]
    if settings.json:
        click.echo(json_text(saved))
    say(settings, "\n".join(f"{cell(key)}={cell(value)}" for key, value in saved.items()))
