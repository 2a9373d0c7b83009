"""``deployctl key``: keys that the registry takes instead of the secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployd.cli.settings import Settings
from deployd.cli.verbs import WORD, group, in_group, verb

if TYPE_CHECKING:
    from deployd.net.identity import Identity

key = group("key", "Keys that register without the secret: new, show; and the token that only reads.")

_FILE = click.argument("file", type=click.Path(path_type=Path))


def _line_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the line for the registry shall say."""
    for option in (
        click.option(
            "--namespace",
            "namespaces",
            type=WORD,
            multiple=True,
            metavar="N",
            help="May register there only; may be repeated [any].",
        ),
        click.option(
            "--role",
            "roles",
            type=WORD,
            multiple=True,
            metavar="R",
            help="May register this role only; may be repeated [any].",
        ),
        click.option("--name", type=WORD, metavar="N", help="What its rows say whose they are [the file's name]."),
    ):
        function = option(function)
    return function


@in_group(key, "new")
@verb
@_FILE
@_line_options
def key_new(settings: Settings, file: Path, **line: Any) -> None:
    """Make a private key in FILE.

    Prints the line for a file in the registry's --authorized-keys directory.
    """
    from deployd.net.identity import Identity

    # A line that cannot be should leave no key behind.
    _document(bytes(32), file, **line)
    _show(settings, Identity.new(file), file, **line)


@in_group(key, "show")
@verb
@_FILE
@_line_options
def key_show(settings: Settings, file: Path, **line: Any) -> None:
    """Print the line of the key in FILE.

    It belongs into a file in the registry's --authorized-keys directory.
    """
    from deployd.net.identity import Identity

    _show(settings, Identity.read(file), file, **line)


@in_group(key, "token")
@verb
def key_token(settings: Settings) -> None:
    """Print the read token of a private registry.

    It opens HTTP for reading, and nothing else. Whoever should read gets it instead of the secret, from which it is
    made.
    """
    from deployd.cli.rendering import json_text
    from deployd.errors import UsageError

    if settings.secret is None:
        raise UsageError("a read token is made from the secret: give --secret-file or set DEPLOYD_SECRET")
    token = settings.secret.read_token()
    click.echo(json_text({"token": token}) if settings.json else token)


def _show(settings: Settings, identity: Identity, file: Path, **line: Any) -> None:
    from deployd.cli.rendering import json_text

    document = _document(identity.key, file, **line) | {"owner": identity.owner}
    click.echo(json_text(document) if settings.json else document["line"])


def _document(public: bytes, file: Path, name: str | None, roles: tuple[str, ...], namespaces: tuple[str, ...]) -> Any:
    from deployd.model.grant import Grant, key_text

    grant = Grant.of(public, name or file.stem, roles, namespaces)
    return {"name": grant.name, "key": key_text(public), "line": grant.line()}
