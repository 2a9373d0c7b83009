"""Commands that take over their listening socket instead of binding ``$PORT``, as systemd hands it (LISTEN_FDS)."""

from __future__ import annotations

import shlex

# LISTEN_PID has to name the process that takes the socket: the shell's own id, which it keeps when it execs.
_SAYS = "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES={role}; export LISTEN_FDS LISTEN_PID LISTEN_FDNAMES; exec "
_OWN_WORDS = frozenset(
    ("!", "{", "}", ".", ":", "[[", "break", "case", "cd", "continue", "do", "done", "elif", "else", "esac", "eval")
    + ("exit", "export", "fi", "for", "function", "if", "in", "local", "read", "readonly", "return", "select", "set")
    + ("shift", "source", "then", "time", "times", "trap", "ulimit", "umask", "unset", "until", "wait", "while")
)


def not_simple(command: str) -> str:
    """Why a shell command cannot be replaced by the one program that takes the socket; "" if it can."""
    lexer = shlex.shlex(_without_exec(command), posix=True, punctuation_chars="();<>|&`")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        return "needs one simple command, and this one has a quote that is not closed"
    parts = [word for word in words if set(word) <= set("();|&`") or "\n" in command.strip()]
    if parts:
        return "needs one simple command, without ; & | ( ) ` and line breaks: put it into a script that ends in exec"
    first = words[0] if words else ""
    if first in _OWN_WORDS:
        return f"needs a command that begins with a program, not with the shell's own {first}"
    if "=" in first:
        return "needs a command that begins with a program: put the variables before it into env"
    return ""


def socket_shell_argv(command: str, role: str) -> tuple[str, ...]:
    """The argv of a simple shell ``command`` that is started with its one socket."""
    return ("/bin/sh", "-c", _SAYS.format(role=role) + _without_exec(command))


def socket_argv(argv: tuple[str, ...], role: str) -> tuple[str, ...]:
    """The same for the command of a drone, which is none of a shell."""
    return ("/bin/sh", "-c", _SAYS.format(role=role) + '"$@"', "sh", *argv)


def _without_exec(command: str) -> str:
    """Some shells take a second ``exec`` for a program."""
    first, _, rest = command.strip().partition(" ")
    return rest.strip() if first == "exec" else command.strip()
