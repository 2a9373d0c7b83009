"""What the tables inside a role of a ``deployd.toml`` say: its check, how it is stopped, limits, environment."""

from __future__ import annotations

import re

from deployd.model.invalid import Invalid
from deployd.model.role import EXEC, HTTP, TCP, Check, Limits, StopRule
from deployd.model.sizes import byte_count
from deployd.model.toml_section import Section
from deployd.model.variables import variable_name, variable_value, variables

SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH")
MAX_CHECK_COMMAND = 4 * 1024
MAX_PATH = 1000

_KEYS = {TCP: (), HTTP: ("path", "status"), EXEC: ("command",)}
_PATH = re.compile(r"/[!-~]*")
_STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_SMALLEST = 1 << 20


def read_check(section: Section, port: bool) -> Check | None:
    """``port`` says whether the role has one; None where the section is not there."""
    if not section.values:
        return None
    default = Check()
    kind = _kind(section)
    lowest, highest = _status(section)
    check = Check(
        kind=kind,
        path=_path(section),
        lowest=lowest,
        highest=highest,
        command=_command(section) if kind == EXEC else section.text("command"),
        interval=section.number("interval", default.interval, 0.1, 3600, "seconds"),
        timeout=section.number("timeout", default.timeout, 0.1, 600, "seconds"),
        deadline=section.number("deadline", default.deadline, 1, 86400, "seconds"),
        failures=section.whole("failures", default.failures, 1, 100, "checks"),
    )
    section.close()
    if kind != EXEC and not port:
        section.fault("", f"is a check of kind {kind}, which needs a port, and this role has none")
    return check


def _kind(section: Section) -> str:
    """As said, or as the keys show that only one kind has."""
    implied = [kind for kind, keys in _KEYS.items() if any(section.has(key) for key in keys)]
    kind = section.text("kind", implied[0] if implied else TCP)
    if kind not in _KEYS:
        section.wrong("kind", "tcp, http or exec")
    elif any(other != kind for other in implied):
        other = next(other for other in implied if other != kind)
        key = next(key for key in _KEYS[other] if section.has(key))
        section.fault(key, f"is for checks of kind {other}, and this one is {kind}")
    return kind


def _path(section: Section) -> str:
    path = section.text("path", "/")
    if len(path) > MAX_PATH or not _PATH.fullmatch(path):
        section.wrong("path", f"a path of at most {MAX_PATH} characters that begins with /, without spaces")
    return path


def _status(section: Section) -> tuple[int, int]:
    value = section.either("status")
    if value is None:
        return Check().lowest, Check().highest
    found = None if isinstance(value, bool) else _STATUS.fullmatch(str(value))
    lowest, highest = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if lowest > highest:
        section.wrong("status", 'a status like 204, or a range like "200-399"')
    return lowest, highest


def _command(section: Section) -> str:
    command = section.text("command")
    if "command" not in section.values:
        section.fault("", "is a check of kind exec and needs a command")
    elif not command.strip() or "\0" in command or len(command.encode()) > MAX_CHECK_COMMAND:
        section.fault("command", f"is a shell command of at most {MAX_CHECK_COMMAND} bytes, and not empty")
    return command


def read_stop(section: Section) -> StopRule:
    default = StopRule()
    name = section.text("signal", default.signal)
    signal = name.upper().removeprefix("SIG")
    if signal not in SIGNALS:
        section.wrong("signal", f"one of {', '.join(SIGNALS)}")
    grace = section.number("grace", default.grace, 0, 3600, "seconds")
    section.close()
    return StopRule(signal, grace)


def read_limits(section: Section) -> Limits:
    limits = Limits(
        memory=_bytes(section, "memory"),
        files=section.whole("files", 0, 16, 1_000_000, "open files"),
        processes=section.whole("processes", 0, 1, 1_000_000, "processes"),
        cpu=section.whole("cpu", 0, 1, 100_000, "percent of one core"),
        disk=_bytes(section, "disk"),
    )
    section.close()
    return limits


def _bytes(section: Section, key: str) -> int:
    value = section.either(key)
    if value is None:
        return 0
    try:
        size = 0 if isinstance(value, bool) else byte_count(str(value))
    except Invalid:
        size = 0
    if size < _SMALLEST:
        section.wrong(key, 'a number of bytes like "512M" (K, M, G, T) from 1M to 1024T')
    return size


def read_env(section: Section) -> dict[str, str]:
    """Variables, sorted by name."""
    found = {}
    for name in section.every():
        value = section.text(name, what="text in quotes")
        try:
            variable_name(name)
            found[name] = variable_value(name, value)
        except Invalid as error:
            section.fault(name, f"cannot be: {error}")
    return dict(sorted(found.items()))


def merged_env(section: Section, common: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """``own`` above what is ``common`` to all roles."""
    try:
        return variables(common | own)
    except Invalid as error:
        section.fault("", f"cannot be: {error}")
        return {}
