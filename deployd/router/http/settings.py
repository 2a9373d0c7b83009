"""What the proxy is allowed: how long each phase of a request may take, and how much of everything there may be."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from attrs import frozen


@frozen
class ProxySettings:
    """All times in seconds; they are looked at every TICK, so they may last that much longer."""

    # From the first byte of a request until the end of its head.
    head: float = 10.0
    # A client's connection between two requests, or before the first.
    idle: float = 60.0
    # The same once the router is stopping, see Note [Parting].
    parting: float = 1.0
    # Without a byte of a request's body.
    body: float = 30.0
    connect: float = 2.0
    # From the end of a request until the head of its answer, and without a byte of its body.
    answer: float = 60.0
    progress: float = 60.0
    # A request for which no target is ready.
    target: float = 5.0
    # Something written of which the other side takes nothing.
    stalled: float = 30.0
    # Without a byte either way after an upgrade.
    tunnel: float = 3600.0
    # A client that is told to stop sending, see Note [Lingering].
    linger: float = 2.0
    # An unused connection to a target; most apps close theirs after 5 s.
    pool_idle: float = 4.0
    # As long a pooled connection may carry what cannot be sent twice, see Note [Sending again].
    fresh: float = 1.0
    # Unused connections kept per target.
    pool_size: int = 64
    # Targets that one request is sent to.
    tries: int = 3
    # Bytes of a body that are kept so that a request can be sent again.
    replay: int = 65536
    max_connections: int = 10_000
    # Where the redirect of a route that wants HTTPS leads.
    https_port: int = 443
    # Whose X-Forwarded-*, Forwarded, Via and X-Request-Id are believed.
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()

    def trusts(self, address: str) -> bool:
        """Whether the client at ``address`` may say for whom it asks."""
        if not self.trusted:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        parsed = mapped or parsed
        return any(parsed in network for network in self.trusted)


# Seconds between two looks at the deadlines of all connections, see Note [One timer].
TICK = 0.25
