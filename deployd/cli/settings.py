"""What every verb needs to know: where hub and registry are, the secret, how to print, how long to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from deployd.errors import UsageError
from deployd.net.secret import Secret, secret_from_file

DEFAULT_HUB = "localhost:6001"
HUB_PORT = 6001
REGISTRY_PORT = 6000


@frozen
class Settings:
    """The global options. ``registry`` None: ask the hub; ``timeout`` (seconds) None: the verb's own default."""

    hub: str = DEFAULT_HUB
    registry: str | None = None
    secret: Secret | None = None
    json: bool = False
    timeout: float | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """Options first, then the environment; raise UsageError."""
        return cls(
            hub=_address("--hub", given.get("hub"), environ.get("DEPLOYD_HUB")) or DEFAULT_HUB,
            registry=_address("--registry", given.get("registry"), environ.get("DEPLOYD_REGISTRY")),
            secret=_secret(given.get("secret"), given.get("secret_file"), environ.get("DEPLOYD_SECRET")),
            json=bool(given.get("json")),
            timeout=given.get("timeout"),
        )


def _address(option: str, given: str | None, fallback: str | None) -> str | None:
    """An empty variable counts as unset, an empty option does not."""
    if given is None:
        return fallback or None
    if not given.strip():
        raise UsageError(f"{option} is empty; write HOST:PORT")
    return given


def _secret(text: str | None, path: str | None, fallback: str | None) -> Secret | None:
    if text is not None and path is not None:
        raise UsageError("give --secret or --secret-file, not both")
    if path is not None:
        return secret_from_file(path)
    chosen = text if text is not None else fallback
    return None if chosen is None else Secret(chosen)
