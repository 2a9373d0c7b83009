"""What a checkout says about its processes: the ``Procfile``."""

from __future__ import annotations

from attrs import frozen

from deployd.model.invalid import Invalid
from deployd.model.names import role_name
from deployd.model.role import BuildStep, RoleCommand, role_has_port, shell_argv

MAX_PROCFILE = 64 * 1024
MAX_ROLES = 50


@frozen
class Manifest:
    """``roles`` None: the commit has neither a Procfile nor commands in its ``deployd.toml``.

    ``settings`` are roles that have no command here, for drones with a command of their own. ``release`` runs once per
    release, before anything else of it starts.
    """

    roles: tuple[RoleCommand, ...] | None = None
    settings: tuple[RoleCommand, ...] = ()
    build: tuple[BuildStep, ...] = ()
    release: RoleCommand | None = None


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
        commands[role] = RoleCommand(role, shell_argv(command), role_has_port(role))
        if len(commands) > MAX_ROLES:
            raise Invalid(f"the Procfile names more than {MAX_ROLES} roles")
    if not commands:
        raise Invalid("the Procfile names no role")
    return tuple(commands.values())
