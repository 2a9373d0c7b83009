"""deployctl's start and end: the verbs, and one sentence and the right exit code for whatever goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from deployd.cli.verbs import Verbs

INTERRUPTED = 130

VERBS = {
    "deploy": ("deployd.cli.deploy:deploy", "Put a commit on every drone, beside the earlier ones."),
    "ports": ("deployd.cli.ports:ports", "The port table: what listens where, per commit."),
    "query": ("deployd.cli.query:query", "What is registered as ROLE[@RANGE]."),
    "watch": ("deployd.cli.watch:watch", "What is registered as ROLE[@RANGE], and each change of it."),
    "register": ("deployd.cli.register:register", "A service of your own in the port table, while a command runs."),
    "ps": ("deployd.cli.listing:ps", "The processes on all drones."),
    "drones": ("deployd.cli.listing:drones", "The machines that run apps."),
    "apps": ("deployd.cli.listing:apps", "The repositories on the hub."),
    "releases": ("deployd.cli.listing:releases", "What was deployed of an app, and how that went."),
    "events": ("deployd.cli.events:events", "What happened, when, and who asked for it."),
    "logs": ("deployd.cli.logs:logs", "What processes have printed, on all drones; also of those that are gone."),
    "exec": ("deployd.cli.exec:exec_", "Run a command in a release's checkout and environment, on its drones."),
    "stop": ("deployd.cli.instances:stop", "Stop processes until they are restarted or deployed again."),
    "restart": ("deployd.cli.instances:restart", "Start processes anew, with the same id and port."),
    "spawn": ("deployd.cli.spawn:spawn", "Add a process to a release, until it is stopped."),
    "route": ("deployd.cli.route:route", "Who sees which commit: set, show, rm."),
    "rollback": ("deployd.cli.rollback:rollback", "Put back what a route was before its newest release."),
    "promote": ("deployd.cli.rollback:promote", "Lead a release to all requests of a route, step by step."),
    "pause": ("deployd.cli.rollback:pause", "Leave a promotion at the step where it is."),
    "resume": ("deployd.cli.rollback:resume", "Let a paused promotion go on."),
    "abort": ("deployd.cli.rollback:abort", "End a promotion, and put back what was before it."),
    "retire": ("deployd.cli.upkeep:retire", "Take a release, or all unused ones, down on every drone, for good."),
    "pin": ("deployd.cli.upkeep:pin", "Keep a release: nothing retires it."),
    "unpin": ("deployd.cli.upkeep:unpin", "Let a pinned release be retired again."),
    "drain": ("deployd.cli.upkeep:drain", "Empty a machine before maintenance."),
    "undrain": ("deployd.cli.upkeep:undrain", "Use a drained machine again."),
    "app": ("deployd.cli.upkeep:app", "Policy of an app: set."),
    "config": ("deployd.cli.config:config", "The environment of an app: set, unset, ls."),
    "key": ("deployd.cli.key:key", "Keys for the registry instead of the secret: new, show; token, which only reads."),
    "status": ("deployd.cli.listing:status", "The cluster in a few lines."),
    "demo": ("deployd.cli.demo:demo", "The whole walk-through on this machine, in a temporary directory."),
    "completion": ("deployd.cli.completion:completion", "Print the completion script of a shell."),
}

deployctl = Verbs(
    "deployctl",
    verbs=VERBS,
    help="Deploy commits side by side on a cluster of drones.",
    epilog="Exit codes: 0 done; 1 failed or refused; 2 usage, or no such thing; 3 not reachable; 4 secret refused.",
    subcommand_metavar="VERB ...",
    no_args_is_help=True,
)


def main() -> None:
    """The console script."""
    code = run(sys.argv[1:])
    # What the interpreter would do at its end, with a traceback if nobody reads any more. The rest of what it would do,
    # taking everything apart, is a quarter of a short command's time.
    unread = _flushed()
    os._exit(code or unread)


def run(arguments: Sequence[str]) -> int:
    """Run deployctl with ``arguments``; the exit code."""
    try:
        result = deployctl.main(list(arguments), prog_name="deployctl", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _failed(_usage_sentence(error), 2)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as error:
        return _failed(f"cannot go on: {(error.strerror or type(error).__name__).lower()}", 1)
    except Exception as error:  # whatever it is, a person gets a sentence
        return _failed(*_explained(error))
    return result if isinstance(result, int) else 0


def _explained(error: Exception) -> tuple[str, int]:
    """The sentence and exit code for an error that is not click's."""
    from deployd.errors import DeploydError, InternalError
    from deployd.model.invalid import Invalid

    if isinstance(error, InternalError):
        return str(error), 1
    if isinstance(error, DeploydError):
        return str(error), error.exit_code
    if isinstance(error, Invalid):
        return str(error), 2
    # Not the error's text, which may hold anything.
    return f"something unexpected went wrong in deployctl itself ({type(error).__name__}); please report it", 1


def _usage_sentence(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see `{context.command_path} --help`)" if context is not None else message


def _failed(sentence: str, code: int) -> int:
    from deployd.cli.rendering import printable

    click.echo(f"deployctl: {printable(sentence)}", err=True)
    return code


def _flushed() -> int:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as error:
        return _failed(f"cannot print: {(error.strerror or type(error).__name__).lower()}", 1)
    return 0


def _nobody_reads() -> int:
    """``deployctl ps | head -1``: what is left goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
