"""What a checkout says about its processes: the ``Procfile``."""

from __future__ import annotations

from attrs import frozen

from deployd.model.invalid import Invalid
from deployd.model.names import role_name

MAX_PROCFILE = 64 * 1024
MAX_ROLES = 50


@frozen
class RoleCommand:
    """One role and the argv that runs it; ``port`` says whether it listens on ``$PORT``."""

    role: str
    argv: tuple[str, ...]
    port: bool


def role_has_port(role: str) -> bool:
    """Roles listen on ``$PORT`` unless their name says that they do not."""
    return role not in {"worker", "clock"} and not role.endswith("-worker")


def procfile(text: str) -> tuple[RoleCommand, ...]:
    """Read a Procfile: lines ``ROLE: SHELL COMMAND``, ``#`` comments; roles in the order of the file.

    Raise Invalid, with the line, for anything else.
    """
    commands: dict[str, RoleCommand] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        role, colon, command = line.partition(":")
        role, command = role.strip(), command.strip()
        if not colon or not command:
            raise Invalid(f"Procfile line {number} is not 'ROLE: COMMAND'")
        try:
            role_name(role)
        except Invalid as error:
            raise Invalid(f"Procfile line {number}: {error}") from None
        if role == "release":
            raise Invalid(f"Procfile line {number}: the role 'release' is not supported yet; remove it or rename it")
        if role in commands:
            raise Invalid(f"Procfile line {number} names the role {role!r} a second time")
        commands[role] = shell_role(role, command)
        if len(commands) > MAX_ROLES:
            raise Invalid(f"the Procfile names more than {MAX_ROLES} roles")
    if not commands:
        raise Invalid("the Procfile names no role")
    return tuple(commands.values())


def shell_role(role: str, command: str) -> RoleCommand:
    """A role run by ``/bin/sh``; ``exec`` would break compound commands, so the shell stays."""
    return RoleCommand(role, ("/bin/sh", "-c", command), role_has_port(role))
