"""What a person registers: ``ROLE[@VERSION]``, metadata, a range of ports; and what the program then finds."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from attrs import evolve

from deployd.cli.query_words import metadata
from deployd.errors import PermissionRefused, UsageError
from deployd.model.names import is_commit, shown
from deployd.model.registration import Registration, checked, host_name

NAMESPACE = "default"

_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_SEMANTIC = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+([-+].+)?", re.ASCII)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
# What a program has no business with: whoever knows the secret may register anything.
_OURS = ("DEPLOYD_SECRET", "DEPLOYD_KEY")


def registration(
    what: str,
    *,
    namespace: str | None = None,
    host: str | None = None,
    meta: Sequence[str] = (),
    meta_json: str | None = None,
    id: str | None = None,
) -> Registration:
    """The row, but for its port and, unless given, its id; raise Invalid, UsageError, PermissionRefused.

    ``host`` is what the owner advertises.
    """
    role, at, version = what.partition("@")
    if at and not version:
        raise UsageError(f"{shown(what)} names no version after the @")
    if is_commit(namespace or ""):
        raise PermissionRefused("rows of a commit are registered by drones only: choose another --namespace")
    row = Registration(
        id or role, namespace or NAMESPACE, role, host_name(host) if host else "", 1, version=version, meta={}
    )
    return evolve(checked(evolve(row, meta=_metadata(meta, meta_json))), port=0, id=id or "")


def version_warning(row: Registration) -> str:
    """A sentence where the version is none that ranges are about; it may be right even so."""
    if not row.version or _SEMANTIC.fullmatch(row.version):
        return ""
    return f"{row.version} is no semantic version, like 1.2.3, so no range finds it: only {row.role} alone does"


def _metadata(words: Sequence[str], text: str | None) -> dict[str, Any]:
    """What ``--meta-json`` says, and above it what each ``--meta`` does."""
    whole: Any = {}
    if text is not None:
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError):
            raise UsageError('--meta-json is not JSON; write an object, as \'{"zone": "eu"}\'') from None
    if not isinstance(whole, dict):
        raise UsageError('--meta-json is not an object; write \'{"zone": "eu"}\'')
    return whole | metadata(words)


def row_id(row: Registration, owner: str) -> str:
    """The same for what the same owner registers again, and nobody else's."""
    return f"{row.role}-{sha256(f'{owner}/{row.namespace}/{row.role}'.encode()).hexdigest()[:12]}"


def owner_name() -> str:
    """What rows show as their ``drone``: this machine's name and this process's number."""
    name = _NOT_IN_NAMES.sub("-", socket.gethostname()).strip("-_")[:40] or "host"
    return f"{name}.{os.getpid()}"


def port_range(text: str) -> tuple[int, int]:
    """Raise UsageError."""
    match = _RANGE.fullmatch(text)
    first, last = (int(part) for part in match.groups()) if match else (0, 0)
    if not 0 < first <= last < 65536:
        raise UsageError(f"--port-range is FIRST-LAST within 1-65535, not {shown(text)}")
    return first, last


def environment(
    caller: Mapping[str, str], *, port: int, host: str, registry: str, url: str, namespace: str
) -> dict[str, str]:
    """The caller's own, as the program is his; and what deployd says, without its secret."""
    said = {"PORT": str(port), "HOST": host, "DEPLOYD_REGISTRY": registry}
    if url:
        plain = url.rstrip("/")
        said |= {"DEPLOYD_REGISTRY_URL": plain, "DEPLOYD_PEERS_URL": f"{plain}/v1/ports/{namespace}?app="}
    return {name: value for name, value in caller.items() if not name.startswith(_OURS)} | said
