"""Commands that take over their listening socket instead of binding ``$PORT``, as systemd hands it (LISTEN_FDS)."""

from __future__ import annotations

import shlex

from deployd.model.role import shell_argv

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


def taking_argv(command: str) -> tuple[str, ...]:
    """The argv of a simple shell ``command`` whose program takes the shell's place, and with it its socket.

    LISTEN_PID, which the keeper sets, names the process that may take it.
    """
    return shell_argv("exec " + _without_exec(command))


def _without_exec(command: str) -> str:
    """Some shells take a second ``exec`` for a program."""
    first, _, rest = command.strip().partition(" ")
    return rest.strip() if first == "exec" else command.strip()
