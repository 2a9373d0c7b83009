"""Reading the port table over AMP; imports no more than a command that runs for a moment should wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

from deployd.errors import Malformed
from deployd.model.revision import Revision
from deployd.net.peer import CALL_TIMEOUT
from deployd.wire.lookup import Follow, ListRows, Query

if TYPE_CHECKING:
    from deployd.net.peer import Peer

MAX_PAGES = 20_000
# The registry answers a Follow after this many seconds at the latest, if nothing changes; a Query with `wait` too.
WAIT = 25.0

Document = dict[str, Any]


@frozen
class Wanted:
    """Which rows: ``match`` is ``ROLE[@RANGE]``; empty parts hold for any row."""

    match: str = ""
    namespace: str = ""
    app: str = ""
    release: str = ""


@frozen
class Lines:
    """What came after a position, as `deployctl watch --json` prints it, and the ``position`` after it.

    Each line is ``{"type": "put" | "delete" | "reset", "revision": N, "row": ROW | None}``; with ``more`` the next one
    belongs with it. ``whole``: with these the table is as it was at ``revision``.
    """

    lines: list[Document]
    position: str
    whole: bool
    revision: Revision


async def list_rows(
    peer: Peer, *, namespace: str = "", app: str = "", release: str = "", role: str = ""
) -> list[Document]:
    """Every row that matches, by id, as documents (deployd.wire.lookup says what they hold); raise Malformed."""
    rows: list[Document] = []
    await each_page(peer, rows.extend, namespace=namespace, app=app, release=release, role=role)
    return rows


async def each_page(
    peer: Peer,
    take: Callable[[list[Document]], None],
    *,
    namespace: str = "",
    app: str = "",
    release: str = "",
    role: str = "",
) -> None:
    """``list_rows``, a page at a time as they come."""

    async def page(after: str) -> Document:
        return await _asked(peer, ListRows, namespace=namespace, app=app, release=release, role=role, after=after)

    await _each(page, take)


async def query(
    peer: Peer, wanted: Wanted, *, meta: Mapping[str, Any] | None = None, near: str = "", wait: float = 0.0
) -> list[Document]:
    """The rows that match, those of ``near`` first; each key of ``meta`` has that value.

    Where there is none, that is the answer after ``wait`` seconds (60 at most). Raise UsageError, Busy, Malformed.
    """
    rows: list[Document] = []

    async def page(after: str) -> Document:
        seconds = 0.0 if after else wait
        return await _asked(
            peer,
            Query,
            timeout=seconds + CALL_TIMEOUT,
            match=wanted.match,
            namespace=wanted.namespace,
            app=wanted.app,
            release=wanted.release,
            meta=dict(meta or {}),
            near=near,
            wait=seconds,
            after=after,
        )

    await _each(page, rows.extend)
    return rows


async def follow(peer: Peer, position: str, wanted: Wanted = Wanted(), wait: float = WAIT) -> Lines:
    """What comes after ``position`` ("": from nowhere, so a reset comes first), none after ``wait`` seconds.

    One at a time on a session. The caller goes on with the answer's position, over another session as well.
    Raise UsageError, Busy, Malformed.
    """
    answer = await _asked(
        peer,
        Follow,
        timeout=wait + CALL_TIMEOUT,
        position=position,
        wait=wait,
        match=wanted.match,
        namespace=wanted.namespace,
        app=wanted.app,
        release=wanted.release,
    )
    lines = answer["lines"]
    if not isinstance(lines, list) or not all(map(_is_line, lines)):
        raise Malformed("the registry's changes are not what the protocol asks for")
    return Lines(lines, answer["position"], answer["whole"], answer["revision"])


def _is_line(line: Any) -> bool:
    match line:
        case {"type": "put" | "delete", "revision": int(), "row": {"id": str()}} | {"type": "reset", "revision": int()}:
            return True
    return False


async def _asked(peer: Peer, command: Any, **arguments: Any) -> Document:
    answer: Document = await peer.call(command, **arguments)
    return answer


async def _each(page: Callable[[str], Any], take: Callable[[list[Document]], None]) -> None:
    """All pages, in order."""
    after = ""
    for _ in range(MAX_PAGES):
        answer = await page(after)
        if not isinstance(answer["rows"], list) or not all(isinstance(row, dict) for row in answer["rows"]):
            raise Malformed("the registry's rows are not what the protocol asks for")
        take(answer["rows"])
        if not answer["next"]:
            return
        if answer["next"] <= after:
            raise Malformed("the registry's pages do not go on")
        after = answer["next"]
    raise Malformed(f"the registry has more than {MAX_PAGES} pages of rows")
