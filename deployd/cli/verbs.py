"""The shape of every verb: global options before or after it, help that keeps them apart, verbs that load when used."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from deployd import __version__

MAX_WORD = 250
MAX_SECONDS = 1e7
HELP = {"help_option_names": ["-h", "--help"]}


class Word(click.ParamType[str]):
    """A name, id or address on its way to a daemon: some characters, all of them text."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text or len(text) > MAX_WORD or not text.isprintable():
            self.fail(f"{text[:40]!r} is empty, too long, or not text", param, ctx)
        return text


class Seconds(click.ParamType[float]):
    """A time above 0."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < MAX_SECONDS:
            self.fail(f"{str(value)[:40]!r} is not a number of seconds above 0 and below {MAX_SECONDS:g}", param, ctx)
        return seconds


WORD = Word()
SECONDS = Seconds()


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """A later value of the same option wins, so ``deployctl --hub A ps --hub B`` asks B."""
    if value is not None and value is not False:
        context.ensure_object(dict)[option.name] = value


def _print_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"deployctl {__version__}")
        context.exit()


class GlobalOption(click.Option):
    """An option that every verb takes and that the verb's own function never sees."""

    def __init__(self, *names: str, **attributes: Any) -> None:
        super().__init__(list(names), expose_value=False, **({"callback": _remember} | attributes))


def _global_options() -> list[click.Parameter]:
    return [
        GlobalOption("--hub", metavar="ADDRESS", help="The hub [$DEPLOYD_HUB, else localhost:6001]."),
        GlobalOption("--registry", metavar="ADDRESS", help="The registry [$DEPLOYD_REGISTRY, else what the hub says]."),
        GlobalOption("--secret", metavar="S", help="The cluster's secret; `ps` shows it, so better use the next."),
        GlobalOption("--secret-file", metavar="F", help="A file whose first line is the secret [$DEPLOYD_SECRET]."),
        GlobalOption("--key", metavar="F", help="A key for the registry, instead of the secret [$DEPLOYD_KEY]."),
        GlobalOption("--registry-key", metavar="KEY,..", help="The registry must have it [$DEPLOYD_REGISTRY_KEY]."),
        GlobalOption("--json", is_flag=True, help="Print one JSON document."),
        GlobalOption("--timeout", type=SECONDS, metavar="S", help="The deadline of the whole command, in seconds."),
        GlobalOption("--version", is_flag=True, is_eager=True, callback=_print_version, help="Print the version."),
    ]


class _WithGlobalOptions(click.Command):
    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **({"context_settings": HELP} | attributes))
        self.params = [*self.params, *_global_options()]

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        everywhere: list[tuple[str, str]] = []
        for param in self.get_params(context):
            record = param.get_help_record(context)
            if record is not None and isinstance(param, click.Option):
                of_all = isinstance(param, GlobalOption) or "--help" in param.opts
                (everywhere if of_all else own).append(record)
        for title, records in (("Options", own), ("Global options, before or after the verb", everywhere)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Verb(_WithGlobalOptions):
    """One verb."""


class VerbGroup(_WithGlobalOptions, click.Group):
    """A verb whose first word says what it does: ``route set``."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        self.format_commands(context, formatter)


class Verbs(_WithGlobalOptions, click.Group):
    """``deployctl`` itself: ``verbs`` maps each name to where it is (``module:attribute``) and one line of help."""

    def __init__(self, *arguments: Any, verbs: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in self._verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs by name without importing any of them, then what click knows."""
        found = [CompletionItem(name, help=line) for name, (_, line) in self._verbs.items()]
        return [item for item in found if item.value.startswith(incomplete)] + click.Command.shell_complete(
            self, ctx, incomplete
        )


def group(name: str, line: str) -> VerbGroup:
    """A verb of several words, none of which it has yet: see ``in_group``."""
    return VerbGroup(name, help=line, subcommand_metavar="WORD ...", no_args_is_help=True)


def in_group(words: VerbGroup, name: str) -> Callable[[click.Command], click.Command]:
    """Put a ``@verb`` below this one into a group, under ``name``."""

    def put(command: click.Command) -> click.Command:
        words.add_command(command, name)
        return command

    return put


def verb(function: Callable[..., Any]) -> click.Command:
    """Make ``function(settings, ...)`` a verb named like it; it may return an exit code."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        # Not above: `--help` and completion need neither attrs nor the secret's hashing.
        from deployd.cli.running import prepare
        from deployd.cli.settings import Settings

        settings = Settings.read(click.get_current_context().obj or {}, os.environ)
        prepare(settings)
        return function(settings, *arguments, **options)

    return click.command(cls=Verb)(call)
