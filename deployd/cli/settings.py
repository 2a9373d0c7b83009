"""What every verb needs to know: where hub and registry are, the secret, how to print, how long to wait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from deployd.errors import UsageError
from deployd.model.address import is_several
from deployd.net.secret import Secret, secret_from_file

if TYPE_CHECKING:
    from deployd.net.identity import Identity

DEFAULT_HUB = "localhost:6001"
HUB_PORT = 6001
REGISTRY_PORT = 6000


@frozen
class Settings:
    """The global options. ``registry`` None: ask the hub; ``timeout`` (seconds) None: the verb's own default.

    ``key`` names the file of a key of our own, for the registry; ``registry_keys``: the registry has one of them.
    """

    hub: str = DEFAULT_HUB
    registry: str | None = None
    secret: Secret | None = None
    json: bool = False
    timeout: float | None = None
    key: str | None = None
    registry_keys: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
        """Options first, then the environment; raise UsageError."""
        return cls(
            hub=_one(_address("--hub", given.get("hub"), environ.get("DEPLOYD_HUB")) or DEFAULT_HUB),
            registry=_address("--registry", given.get("registry"), environ.get("DEPLOYD_REGISTRY")),
            secret=_secret(given.get("secret"), given.get("secret_file"), environ.get("DEPLOYD_SECRET")),
            json=bool(given.get("json")),
            timeout=given.get("timeout"),
            key=_file("--key", given.get("key"), environ.get("DEPLOYD_KEY")),
            registry_keys=_public_keys(given.get("registry_key"), environ.get("DEPLOYD_REGISTRY_KEY")),
        )

    def identity(self) -> Identity | None:
        """Our own key, where one is given; raise UsageError."""
        if self.key is None:
            return None
        # Not above: few commands have one, and `cryptography` takes a third of their start.
        from deployd.net.identity import Identity

        return Identity.read(Path(self.key))


def _address(option: str, given: str | None, fallback: str | None) -> str | None:
    """An empty variable counts as unset, an empty option does not."""
    if given is None:
        return fallback or None
    if not given.strip():
        raise UsageError(f"{option} is empty; write HOST:PORT")
    return given


def _one(hub: str) -> str:
    """There is one hub; registries may be several."""
    if is_several(hub):
        raise UsageError("--hub takes one address: HOST:PORT")
    return hub


def _file(option: str, given: str | None, fallback: str | None) -> str | None:
    """As ``_address``."""
    if given is None:
        return fallback or None
    if not given:
        raise UsageError(f"{option} is empty; name a file")
    return given


def _public_keys(given: str | None, fallback: str | None) -> tuple[bytes, ...]:
    """One, or several with commas, as there may be several registries."""
    text = fallback or None if given is None else given
    if text is None:
        return ()
    from deployd.model.grant import public_key
    from deployd.model.invalid import Invalid

    try:
        return tuple(map(public_key, text.split(",")))
    except Invalid:
        raise UsageError("--registry-key is not a key; the registry's log and addresses.json have it") from None


def _secret(text: str | None, path: str | None, fallback: str | None) -> Secret | None:
    if text is not None and path is not None:
        raise UsageError("give --secret or --secret-file, not both")
    if path is not None:
        return secret_from_file(path)
    chosen = text if text is not None else fallback
    return None if chosen is None else Secret(chosen)
