"""One role of a release: what runs it, how it is checked and stopped, and what it may use."""

from __future__ import annotations

from attrs import field, frozen

TCP, HTTP, EXEC = "tcp", "http", "exec"


@frozen
class Check:
    """How an instance shows that it is ready, and then alive. Times are seconds.

    ``kind`` is ``tcp`` (accepts connections on its port), ``http`` (answers GET ``path`` with a status within
    ``lowest``..``highest``) or ``exec`` (the shell command ``command`` exits with 0, in its checkout and environment).
    It is asked every ``interval``, and has ``timeout`` to answer. It has ``deadline`` from its start to pass once;
    ``failures`` in a row after that make it unhealthy.
    """

    kind: str = TCP
    path: str = "/"
    lowest: int = 200
    highest: int = 399
    command: str = ""
    interval: float = 5.0
    timeout: float = 2.0
    deadline: float = 120.0
    failures: int = 3


@frozen
class StopRule:
    """``signal`` (a name without SIG) goes to every process; what is left after ``grace`` seconds is killed."""

    signal: str = "TERM"
    grace: float = 7.0


@frozen
class Limits:
    """0 means none. ``memory`` in bytes, ``files`` open at once and ``processes`` by number, ``cpu`` in percent of one
    core, ``disk`` in bytes of its checkout and its temporary directory."""

    memory: int = 0
    files: int = 0
    processes: int = 0
    cpu: int = 0
    disk: int = 0


@frozen
class RoleSettings:
    """What ``deployd.toml`` says of a role beside its command.

    ``check`` None: the role's default (``tcp`` with a port, else it is ready when it has run for a second). ``socket``:
    it is given its listening socket instead of binding ``$PORT`` (LISTEN_FDS). ``give_up``: so many ends in a row
    without a steady minute between them, and it is not started again until somebody asks for it; 0: never. ``within``:
    what runs once has so many seconds for it.
    """

    check: Check | None = None
    stop: StopRule = field(factory=StopRule)
    limits: Limits = field(factory=Limits)
    env: dict[str, str] = field(factory=dict, hash=False)
    socket: bool = False
    give_up: int = 20
    within: float = 600.0


@frozen
class RoleCommand:
    """One role and the argv that runs it; ``port`` says whether it listens on ``$PORT``.

    ``count`` instances of it run on each drone. ``argv`` is empty where ``deployd.toml`` only has settings for the role
    that a drone's own command plays.
    """

    role: str
    argv: tuple[str, ...]
    port: bool
    count: int = 1
    settings: RoleSettings = field(factory=RoleSettings)


@frozen
class BuildStep:
    """A shell command that runs before the roles of a release can, once per checkout and drone.

    With ``cache``, the names of files in the checkout, it runs once for their content instead: in an empty directory
    that has only those files; ``makes`` are the files or directories that it leaves there, which then are links in
    every checkout with the same ones. ``timeout`` in seconds.
    """

    command: str
    cache: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    timeout: float = 600.0


def role_has_port(role: str) -> bool:
    """Roles listen on ``$PORT`` unless their name says that they do not."""
    return role not in {"worker", "clock"} and not role.endswith("-worker")


def shell_argv(command: str) -> tuple[str, ...]:
    """Run by ``/bin/sh``; ``exec`` would break compound commands, so the shell stays."""
    return ("/bin/sh", "-c", command)
