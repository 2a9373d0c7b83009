"""Why an instance is not ready, in one sentence."""

from __future__ import annotations

from collections.abc import Collection

from deployd.model.role import EXEC, HTTP, Check
from deployd.processes.listeners import Bind
from deployd.processes.probing import REFUSED, probe_host

_MOST = 5


def unready(check: Check, bind: Bind | None, met: str, when: str) -> str:
    """``met`` is what the last look met, ``when`` for instance ``after 120 s``.

    ``does not answer on port 20001 after 120 s (connection refused)``
    """
    if check.kind == EXEC or bind is None:
        what = f"its check `{check.command}` does not pass"
    elif check.kind == HTTP:
        what = f"GET {check.path} {_at(bind)} does not pass"
    else:
        what = f"does not answer {_at(bind)}"
    return f"{what} {when} ({met or 'no answer'})"


def elsewhere(bind: Bind | None, met: str, listening: Collection[str]) -> str:
    """What is to be added of where it really listens, where that explains something."""
    if bind is None or (met != REFUSED and any(one.endswith(f":{bind[1]}") for one in listening)):
        return ""
    if not listening:
        return "; it listens on no port"
    shown = sorted(listening)[:_MOST]
    more = f" and {len(listening) - _MOST} more" if len(listening) > _MOST else ""
    return f"; it listens on {', '.join(shown)}{more}"


def _at(bind: Bind) -> str:
    host, port = bind
    return f"on port {port}" if probe_host(host) in ("127.0.0.1", "::1") else f"on port {port} of {host}"
