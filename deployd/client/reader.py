"""Reading the port table over AMP; imports no more than a command that runs for a moment should wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deployd.errors import Malformed
from deployd.wire.lookup import ListRows

if TYPE_CHECKING:
    from deployd.net.peer import Peer

MAX_PAGES = 20_000


async def list_rows(
    peer: Peer, *, namespace: str = "", app: str = "", release: str = "", role: str = ""
) -> list[dict[str, Any]]:
    """Every row that matches, by id, as documents (deployd.wire.lookup says what they hold); raise Malformed."""
    rows: list[dict[str, Any]] = []
    await each_page(peer, rows.extend, namespace=namespace, app=app, release=release, role=role)
    return rows


async def each_page(
    peer: Peer,
    take: Callable[[list[dict[str, Any]]], None],
    *,
    namespace: str = "",
    app: str = "",
    release: str = "",
    role: str = "",
) -> None:
    """``list_rows``, a page at a time as they come."""
    after = ""
    for _ in range(MAX_PAGES):
        page = await peer.call(ListRows, namespace=namespace, app=app, release=release, role=role, after=after)
        if not isinstance(page["rows"], list) or not all(isinstance(row, dict) for row in page["rows"]):
            raise Malformed("the registry's rows are not what the protocol asks for")
        take(page["rows"])
        if not page["next"]:
            return
        if page["next"] <= after:
            raise Malformed("the registry's pages do not go on")
        after = page["next"]
    raise Malformed(f"the registry has more than {MAX_PAGES} pages of rows")
