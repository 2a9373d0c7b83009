"""What a checkout says about its processes: its ``Procfile`` and ``deployd.toml``."""

from __future__ import annotations

from attrs import evolve, frozen

from deployd.model.deployd_toml import DEPLOYD_TOML, MAX_ROLES, Described, command_problem, read_toml
from deployd.model.faults import Fault, Faults, Faulty
from deployd.model.invalid import Invalid
from deployd.model.names import role_name
from deployd.model.role import BuildStep, RoleCommand, RoleSettings

PROCFILE = "Procfile"
MAX_FILE = 64 * 1024
MAX_INSTANCES = 200


@frozen
class Manifest:
    """``roles`` None: the commit has neither a Procfile nor commands in its ``deployd.toml``.

    ``settings`` are roles that have no command here, for drones with a command of their own; the one called "" has the
    environment of roles that the files do not name. ``release`` runs once per release, before anything else of it
    starts.
    """

    roles: tuple[RoleCommand, ...] | None = None
    settings: tuple[RoleCommand, ...] = ()
    build: tuple[BuildStep, ...] = ()
    release: RoleCommand | None = None


@frozen
class Reading:
    """What can be read in the files of a commit, and what is wrong with them."""

    manifest: Manifest
    faults: tuple[Fault, ...] = ()

    def of(self, file: str) -> tuple[Fault, ...]:
        """The faults of one file."""
        return tuple(fault for fault in self.faults if fault.file == file)


def read_manifest(procfile: str | None, toml: str | None) -> Manifest:
    """Read both files (None: not there); raise Faulty with whatever is wrong in them."""
    reading = read_files(procfile, toml, Faults())
    if reading.faults:
        raise Faulty(reading.faults)
    return reading.manifest


def read_files(procfile: str | None, toml: str | None, faults: Faults) -> Reading:
    """The same for who goes on with the rest. With a fault in the Procfile no role has a command.

    ``faults`` has those that are known already.
    """
    commands = read_procfile(procfile, faults) if procfile is not None else {}
    usable = all(fault.file != PROCFILE for fault in faults.found)
    described = read_toml(toml or "", commands, faults)
    _check_count(described, DEPLOYD_TOML if toml else PROCFILE, faults)
    runnable = tuple(role for role in described.roles if role.argv) if usable else ()
    settings = tuple(evolve(role, argv=()) for role in described.roles if role not in runnable)
    manifest = Manifest(
        roles=runnable or None,
        settings=settings + _others(described.env),
        build=described.build,
        release=described.release,
    )
    return Reading(manifest, faults.sorted())


def _others(env: dict[str, str]) -> tuple[RoleCommand, ...]:
    return (RoleCommand("", (), port=True, settings=RoleSettings(env=env)),) if env else ()


def _check_count(described: Described, file: str, faults: Faults) -> None:
    count = sum(role.count for role in described.roles)
    if count > MAX_INSTANCES:
        faults.add(file, 0, f"asks for {count} instances on each drone; at most {MAX_INSTANCES} can be")


def read_procfile(text: str, faults: Faults) -> dict[str, str]:
    """The shell commands of a Procfile by role: lines ``ROLE: SHELL COMMAND``, ``#`` comments."""
    commands: dict[str, str] = {}
    before = len(faults.found)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        role, colon, command = (part.strip() for part in line.partition(":"))
        problem = "is not 'ROLE: COMMAND'" if not colon or not command else _role_problem(role, command, commands)
        if problem:
            faults.add(PROCFILE, number, problem)
        elif len(commands) == MAX_ROLES:
            faults.add(PROCFILE, number, f"is one of more than {MAX_ROLES} roles")
            break
        else:
            commands[role] = command
    if not commands and len(faults.found) == before:
        faults.add(PROCFILE, 0, "names no role")
    return commands


def _role_problem(role: str, command: str, commands: dict[str, str]) -> str:
    try:
        role_name(role)
    except Invalid as error:
        return str(error)
    if role in commands:
        return f"names the role {role!r} a second time"
    problem = command_problem(command)
    return f"the command of the role {role!r} {problem}" if problem else ""
