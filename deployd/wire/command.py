"""What every Command of every conversation declares."""

from __future__ import annotations

from deployd.errors import (
    Busy,
    DeploydError,
    InternalError,
    Malformed,
    PermissionRefused,
    Refused,
    UsageError,
)

COMMON = (InternalError, Busy, Malformed, PermissionRefused, Refused, UsageError)


def declared(*errors: type[DeploydError]) -> dict[type[Exception], bytes]:
    """AMP's ``errors`` of a Command: its own, and those that the shared responder wrapper can answer with.

    Its own come first: AMP takes the first class that matches, and UnknownApp is a UsageError too.
    """
    return {error: error.__name__.encode("ascii") for error in (*errors, *COMMON)}
