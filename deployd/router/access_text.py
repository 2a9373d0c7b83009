"""An access line as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from attrs import asdict

from deployd.router.http.access import AccessLine


def line_of(line: AccessLine) -> bytes:
    """One line of JSON; ``when`` is ``time`` in it, in UTC."""
    document = asdict(line)
    when = datetime.fromtimestamp(document.pop("when"), UTC).isoformat(timespec="milliseconds")
    document["seconds"] = round(line.seconds, 6)
    return json.dumps({"time": when.replace("+00:00", "Z"), **document}).encode() + b"\n"
