"""Room for many connections, and for many that come at once."""

from __future__ import annotations

import resource

# What waits to be accepted while the reactor is busy. Beyond Twisted's 50, a client's first packet is dropped and sent
# again a second later: a fleet that reconnects, or a few hundred strangers, would make everybody wait.
BACKLOG = 1024
MAX_FILES = 65_536


def with_backlog(endpoint: str) -> str:
    """A server endpoint string with BACKLOG, unless it names its own or is of a kind that has none."""
    if not endpoint.startswith(("tcp:", "ssl:")) or ":backlog=" in endpoint:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def raise_file_limit() -> None:
    """Let this process have as many open files as it is allowed to have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
