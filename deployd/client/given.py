"""What a program gives its client, as the client needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from deployd.errors import UsageError
from deployd.model.grant import public_key
from deployd.model.invalid import Invalid
from deployd.model.names import drone_name
from deployd.model.registration import host_name

if TYPE_CHECKING:
    from deployd.net.identity import Identity

_log = Logger()


def names_of(name: str, host: str) -> tuple[str, str]:
    """Both, checked; raise UsageError."""
    try:
        return drone_name(name) if name else "", host_name(host) if host else ""
    except Invalid as error:
        raise UsageError(str(error)) from None


def identity_of(given: Identity | Path | str | None) -> Identity | None:
    """That of a file, which is made where there is none; raise UsageError."""
    if not isinstance(given, Path | str):
        return given
    from deployd.net.identity import Identity

    try:
        return Identity.load(Path(given))
    except (OSError, ValueError) as error:
        raise UsageError(f"{given} is no key, and none can be made there: {error}") from None


def keys_of(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Public keys; raise UsageError."""
    try:
        return tuple(map(public_key, texts))
    except Invalid as error:
        raise UsageError(str(error)) from None


def guarded(told: Callable[..., object] | None) -> Callable[..., None]:
    """``told``, which may trip: that is logged, and no connection is lost for it."""

    def tell(*arguments: Any) -> None:
        try:
            if told is not None:
                told(*arguments)
        except Exception:  # whatever a program does
            _log.failure("while telling of the registry")

    return tell
