"""One line of the access log."""

from __future__ import annotations

from attrs import frozen


@frozen
class AccessLine:
    """``when`` is in seconds since 1970; ``seconds`` until the answer's end; ``bytes`` of the answer's body.

    ``status`` is 0 if the client left before there was an answer. ``retries`` counts the targets tried before the last.
    """

    when: float
    client: str
    host: str
    method: str
    path: str
    status: int
    bytes: int
    seconds: float
    route: str
    app: str
    release: str
    instance: str
    request_id: str
    retries: int
