"""Errors that cross the wire.

Each docstring is the sentence that the user reads when the raiser gave none; ``exit_code`` is what ``deployctl``
ends with (docs/reference: 1 refused or failed, 2 wrong usage or no such thing, 3 not reachable, 4 not permitted).
"""

from __future__ import annotations


class DeploydError(Exception):
    """deployd could not do that."""

    exit_code = 1

    def __str__(self) -> str:
        return super().__str__() or (type(self).__doc__ or "").strip()


class InternalError(DeploydError):
    """deployd failed inside; the daemon's log says more."""


class Refused(DeploydError):
    """That is not allowed in the present state."""


class Busy(DeploydError):
    """Too much is under way at once; try again in a moment."""


class IncompatibleVersion(DeploydError):
    """The two programs speak different versions of deployd's protocol; upgrade the older one."""


class NameInUse(DeploydError):
    """Another drone already has that name."""


class Superseded(DeploydError):
    """A newer session of the same owner has taken over."""


class NotOwner(DeploydError):
    """That registration belongs to another owner."""

    exit_code = 4


class Malformed(DeploydError):
    """A value on the wire was not what the protocol asks for."""


class UsageError(DeploydError):
    """That is not how the command is used."""

    exit_code = 2


class UnknownApp(UsageError):
    """There is no such app on the hub; `git push` creates it."""


class UnknownCommit(UsageError):
    """There is no such commit, branch, tag or release of this app on the hub; push it first."""


class UnknownDrone(UsageError):
    """There is no such drone."""


class DroneAway(DeploydError):
    """The drone is not connected to the hub."""


class UnknownInstance(UsageError):
    """There is no such instance."""


class UnknownRoute(UsageError):
    """There is no such route."""


class Unreachable(DeploydError):
    """The daemon cannot be reached."""

    exit_code = 3


class NoAnswer(Unreachable):
    """There was no answer in time."""


class SecretRefused(DeploydError):
    """The secret was refused."""

    exit_code = 4


class PermissionRefused(DeploydError):
    """This session may not do that."""

    exit_code = 4
