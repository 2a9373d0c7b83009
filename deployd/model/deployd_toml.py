"""The format of ``deployd.toml`` (docs/deployd-toml.md): what it says of builds, the release command, and roles."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping

from attrs import field, frozen

from deployd.model.faults import Faults
from deployd.model.invalid import Invalid
from deployd.model.names import role_name
from deployd.model.role import BuildStep, RoleCommand, RoleSettings, role_has_port, shell_argv
from deployd.model.role_sections import merged_env, read_check, read_env, read_limits, read_stop
from deployd.model.sockets import not_simple, taking_argv
from deployd.model.toml_lines import Excessive, locate
from deployd.model.toml_section import Section
from deployd.model.words import MAX_COMMAND, is_too_long

DEPLOYD_TOML = "deployd.toml"
RELEASE = "release"
MAX_ROLES = 50
MAX_STEPS = 20
MAX_FILES = 50
MAX_NAME = 500
MAX_COUNT = 100
MAX_BUILD = 16 * 1024
"""Of all steps together, as JSON; they have to fit one AMP value with the rest of an instance's line."""

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_KEYS = re.compile(r"\((?:'[^']*'(?:, |,)?)+\)")
_MAX_REASON = 200


@frozen
class Described:
    """``roles`` are those of both files, with an empty argv where neither has a command; ``env`` is for all others."""

    roles: tuple[RoleCommand, ...] = ()
    build: tuple[BuildStep, ...] = ()
    release: RoleCommand | None = None
    env: dict[str, str] = field(factory=dict, hash=False)


def read_toml(text: str, commands: Mapping[str, str], faults: Faults) -> Described:
    """What ``text`` makes of the ``commands`` of the Procfile, by role; what is wrong goes to ``faults``."""
    try:
        lines = locate(text)
        values = tomllib.loads(text)
    except Excessive as error:
        faults.add(DEPLOYD_TOML, error.line, str(error))
        return Described()
    except ValueError as error:
        faults.add(DEPLOYD_TOML, *_syntax(text, str(error)))
        return Described()
    return _Reading(Section(DEPLOYD_TOML, lines, faults, values), commands).read()


def _syntax(text: str, said: str) -> tuple[int, str]:
    """Where tomllib met what it does not understand, and its words."""
    found = _PLACE.fullmatch(said)
    words = _KEYS.sub(lambda keys: ".".join(re.findall("'([^']*)'", keys[0])), found[1] if found else said)
    line = int(found[2]) if found and found[2] else text.rstrip().count("\n") + 1
    words = "".join(letter if letter.isprintable() else " " for letter in words[:_MAX_REASON])
    return line, words[:1].lower() + words[1:]


@frozen
class _Reading:
    top: Section
    commands: Mapping[str, str]

    def read(self) -> Described:
        top = self.top
        section = top.section("env")
        env = merged_env(section, {}, read_env(section))
        described = Described(
            env=env,
            build=self._build(),
            release=self._release(env),
            roles=self._roles(env),
        )
        top.close()
        return described

    def _build(self) -> tuple[BuildStep, ...]:
        sections = self.top.sections("build", MAX_STEPS)
        steps = tuple(_step(section) for section in sections)
        said = [[step.command, step.cache, step.makes] for step in steps]
        if len(json.dumps(said, ensure_ascii=False).encode()) > MAX_BUILD:
            self.top.fault("build", f"has more than {MAX_BUILD} bytes; put the commands into a script")
        return steps

    def _release(self, env: dict[str, str]) -> RoleCommand | None:
        section = self.top.section(RELEASE)
        command = _command(section) or self.commands.get(RELEASE, "")
        settings = RoleSettings(
            stop=read_stop(section.section("stop")),
            limits=read_limits(section.section("limits")),
            env=merged_env(section, env, read_env(section.section("env"))),
            within=section.number("timeout", RoleSettings().within, 1, 86400, "seconds"),
        )
        section.close()
        if not command and self.top.has_table(RELEASE) and not section.has("command"):
            section.fault("", "needs a command")
        return RoleCommand(RELEASE, shell_argv(command), port=False, settings=settings) if command else None

    def _roles(self, env: dict[str, str]) -> tuple[RoleCommand, ...]:
        section = self.top.section("roles")
        said = list(section.every())
        names = [role for role in self.commands if role != RELEASE] + [r for r in said if r not in self.commands]
        if len(names) > MAX_ROLES:
            section.fault("", f"names more than {MAX_ROLES} roles, those of the Procfile included")
        roles = []
        for name in names[:MAX_ROLES]:
            if name == RELEASE:
                section.fault(name, "is no role: what runs once per release is [release]")
            elif _is_role(section, name):
                roles.append(self._role(name, section.section(name), env))
        return tuple(roles)

    def _role(self, name: str, section: Section, env: dict[str, str]) -> RoleCommand:
        command = _command(section) or self.commands.get(name, "")
        port = section.flag("port", role_has_port(name))
        settings = RoleSettings(
            check=read_check(section.section("check"), port),
            stop=read_stop(section.section("stop")),
            limits=read_limits(section.section("limits")),
            env=merged_env(section, env, read_env(section.section("env"))),
            socket=section.flag("socket", False),
            give_up=section.whole("give-up", RoleSettings().give_up, 0, 1000, "ends in a row"),
        )
        count = section.whole("count", 1, 1, MAX_COUNT, "instances")
        section.close()
        argv = shell_argv(command) if command else ()
        if settings.socket:
            problem = "needs a port" if not port else not_simple(command) if command else ""
            if problem:
                section.fault("socket", problem)
            argv = taking_argv(command) if command else ()
        return RoleCommand(name, argv, port, count, settings)


def _is_role(section: Section, name: str) -> bool:
    try:
        role_name(name)
    except Invalid as error:
        section.fault(name, f"cannot be: {error}")
        return False
    return True


def _step(section: Section) -> BuildStep:
    step = BuildStep(
        command=_command(section),
        cache=_names(section, "cache"),
        makes=_names(section, "makes"),
        timeout=section.number("timeout", BuildStep("").timeout, 1, 86400, "seconds"),
    )
    section.close()
    if not section.has("command"):
        section.fault("", "needs a command")
    inside = [name for name in step.makes if any(name.startswith(f"{other}/") for other in step.makes)]
    if inside:
        section.fault("makes", f"has {json.dumps(inside[0][:60])}, which is inside another of them")
    if step.cache and not step.makes:
        section.fault("cache", "needs makes: the names of what the command leaves behind")
    if step.makes and not step.cache:
        section.fault("makes", "needs cache: the names of the files that it depends on")
    return step


def _command(section: Section) -> str:
    """A shell command; "" where there is none, or none of use."""
    command = section.text("command")
    if section.has_text("command"):
        problem = command_problem(command)
        if problem:
            section.fault("command", problem)
    return command.strip()


def command_problem(command: str) -> str:
    """Why a shell command cannot be one; "" if it can."""
    if not command.strip():
        return "is empty"
    if "\0" in command:
        return "holds a NUL, which no command can"
    if is_too_long(shell_argv(command)):
        return f"is longer than {MAX_COMMAND} bytes; put it into a script"
    return ""


def _names(section: Section, key: str) -> tuple[str, ...]:
    """Paths in the checkout, as they are written to be found again under the same name."""
    names = section.texts(key, MAX_FILES)
    for name in names:
        parts = name.split("/")
        if (
            not 0 < len(name) <= MAX_NAME
            or not name.isprintable()
            or {"", ".", ".."} & set(parts)
            or parts[0] == ".git"
        ):
            section.fault(key, f"has {json.dumps(name[:60])}, which is no path inside the checkout, like a/b")
    if len(set(names)) < len(names):
        section.fault(key, "names one of them twice")
    return names


def cache_faults(text: str, absent: Collection[str], faults: Faults) -> None:
    """Tell of the files in ``cache`` that are ``absent`` from the commit; ``text`` has been read without a fault."""
    lines = locate(text)
    build = tomllib.loads(text).get("build", [])
    steps = [(("build",), build)] if isinstance(build, dict) else [(("build", n), step) for n, step in enumerate(build)]
    for path, step in steps:
        for number, name in enumerate(step.get("cache", ())):
            if name in absent:
                line = lines.of((*path, "cache", number))
                faults.add(DEPLOYD_TOML, line, f"build.cache names {json.dumps(name)}, which is no file of this commit")
