"""``deployctl completion SHELL``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from deployd.cli.settings import Settings
from deployd.cli.verbs import verb


@verb
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(settings: Settings, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: `eval "$(deployctl completion bash)"` in ~/.bashrc; for zsh the same with zsh in ~/.zshrc; for fish:
    `deployctl completion fish > ~/.config/fish/completions/deployctl.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "deployctl", "_DEPLOYCTL_COMPLETE").source())
