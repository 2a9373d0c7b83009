"""What a drone tells the hub of itself when it joins."""

from __future__ import annotations

from attrs import field, frozen

from deployd.model.role import RoleCommand, role_has_port


@frozen
class DroneDescription:
    """``command`` (with ``role``) is the drone's own; without one it runs ``roles`` (empty: all) of a Procfile.

    ``apps`` limits both (empty: every app). ``owner`` is the drone's identity, a UUID proved in the handshake.
    ``enforces`` says in words which limits of apps are in force there.
    """

    name: str
    owner: str
    labels: dict[str, str] = field(factory=dict, hash=False)
    command: tuple[str, ...] = ()
    role: str = "http"
    roles: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    enforces: tuple[str, ...] = ()

    def own_role(self) -> RoleCommand | None:
        """The role that the drone's own command plays, or None when it runs Procfiles."""
        return RoleCommand(self.role, self.command, role_has_port(self.role)) if self.command else None
