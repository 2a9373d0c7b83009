"""The registry's client, for deployd itself and for any program (docs/client); imports what is used, and then."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployd.client.near import own_release as own_release
    from deployd.client.registry import RegistryClient as RegistryClient
    from deployd.client.stream import RowEvent as RowEvent
    from deployd.client.stream import RowStream as RowStream
    from deployd.model.registration import Registration as Registration
    from deployd.net.secret import secret_from_file as secret_from_file

_HOMES = {
    "RegistryClient": "deployd.client.registry",
    "Registration": "deployd.model.registration",
    "RowEvent": "deployd.client.stream",
    "RowStream": "deployd.client.stream",
    "own_release": "deployd.client.near",
    "secret_from_file": "deployd.net.secret",
}

__all__ = ["Registration", "RegistryClient", "RowEvent", "RowStream", "aio", "own_release", "secret_from_file"]


def __getattr__(name: str) -> Any:
    if name == "aio":
        return import_module("deployd.client.aio")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
