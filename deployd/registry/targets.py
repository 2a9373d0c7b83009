"""The port table as Prometheus discovers its targets (http_sd): rows with the same labels together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import frozen

from deployd.model.names import shown
from deployd.model.registration import Registration
from deployd.registry.parts import as_json
from deployd.registry.site import BadRequest

PREFIX = "__meta_deployd_"

_NOT_IN_LABELS = re.compile(r"[^a-zA-Z0-9_]")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


@frozen
class TargetPort:
    """Where a row's metrics are: at its own port (""), at a number, or at what a key of its metadata says."""

    said: str = ""

    @classmethod
    def parse(cls, text: str) -> TargetPort:
        """Raise BadRequest."""
        if _is_digit(text[:1]) and not (_PORT.fullmatch(text) and 0 < int(text) < 65536):
            raise BadRequest(f"port is a number from 1 to 65535 or a key of the metadata, not {shown(text)}")
        return cls(text)

    def of(self, row: Registration) -> int | None:
        """None for a row whose metadata names no port."""
        if not self.said:
            return row.port
        if _is_digit(self.said[0]):
            return int(self.said)
        named = row.meta.get(self.said)
        if isinstance(named, str) and _PORT.fullmatch(named):
            named = int(named)
        return named if type(named) is int and 0 < named < 65536 else None


def alike(row: Registration) -> tuple[Any, ...]:
    """The same for rows with the same labels."""
    return row.namespace, row.app, row.release, row.role, row.version, row.drone, as_json(_texts(row))


def target_group(port: TargetPort) -> Callable[[list[Registration]], dict[str, Any] | None]:
    """Makes a group of rows that are ``alike``; None when none of them has the ``port``."""

    def group(rows: list[Registration]) -> dict[str, Any] | None:
        found = {_target(row.host, at): None for row in rows if (at := port.of(row)) is not None}
        return {"targets": sorted(found), "labels": labels(rows[0])} if found else None

    return group


def labels(row: Registration) -> dict[str, str]:
    found = {
        "namespace": row.namespace,
        "app": row.app,
        "release": row.release,
        "role": row.role,
        "version": row.version,
        "drone": row.drone,
    }
    for key, text in _texts(row).items():
        # Of keys that become one label the first is taken.
        found.setdefault("meta_" + _NOT_IN_LABELS.sub("_", key), text)
    return {PREFIX + name: text for name, text in found.items()}


def _texts(row: Registration) -> dict[str, str]:
    """What is in the metadata that a label can say."""
    return {
        key: value if isinstance(value, str) else str(as_json(value), "ascii")
        for key, value in sorted(row.meta.items())
        if isinstance(value, str | int | float)
    }


def _target(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_digit(character: str) -> bool:
    """Of those that a port is written with; str.isdigit knows others, too."""
    return "0" <= character <= "9"
