"""What the table says about one request."""

from __future__ import annotations

from collections.abc import Collection

from attrs import frozen

from deployd.model.route import RouteLine
from deployd.router.pools import Pool
from deployd.router.tallies import Count
from deployd.router.target import Target


@frozen
class Refusal:
    """Why no target can be chosen, as the answer to the client says it."""

    status: int
    reason: str


@frozen(eq=False)
class Decision:
    """Where a request goes. It holds for this turn of the reactor: after any wait, decide again with the same point.

    ``cookie`` is the value of a Set-Cookie header to add, or b""; ``redirect``: the route wants HTTPS; ``preview``: it
    was asked for by name; ``count`` is where the request is counted. One Decision serves many requests.
    """

    line: RouteLine
    release: str
    pool: Pool
    count: Count
    cookie: bytes = b""
    preview: bool = False
    # Only targets of this commit; "" if the release alone decides.
    commit: str = ""

    @property
    def app(self) -> str:
        return self.line.setting.app

    @property
    def redirect(self) -> bool:
        return self.line.setting.https

    def target(self, now: float, tried: Collection[Target] = ()) -> Target | None:
        """The least busy ready target not in ``tried``; ejected ones only when no other is left.

        None when there is none: wait for one (Table.when_changed) and decide again; never send it to another release.
        """
        return self.pool.pick(now, tried, self.commit)
