"""What happened, when, and who asked for it."""

from __future__ import annotations

from attrs import frozen

from deployd.errors import UsageError
from deployd.hub.commits import Commits
from deployd.hub.ledger import Ledger
from deployd.hub.listing import Row, first_page
from deployd.interfaces import MAX_EVENTS
from deployd.model.desired import Event

PAGE_EVENTS = 500
MAX_NUMBER = 2**62


@frozen
class EventPage:
    """``number`` is where the next page goes on, if there is ``more``, and else what comes later."""

    rows: list[Row]
    number: int
    more: bool


class Chronicle:
    """Reads the events that every change is saved with.

    Note [Events have numbers]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    Who follows says the number up to which they have been told, so that a hub that was restarted meanwhile goes on
    where the other left off. A store that was put back from a backup has lower numbers; its newest event tells of that.
    """

    def __init__(self, ledger: Ledger, commits: Commits) -> None:
        self._ledger = ledger
        self._commits = commits

    async def page(self, app: str, newest: int, above: int) -> EventPage:
        """The oldest of the ``newest`` events of ``app`` ("": of all) above a number.

        Raise Invalid, UsageError, UnknownApp, Refused.
        """
        if not 0 <= above < MAX_NUMBER or newest < 0:
            raise UsageError("events are asked for by numbers from 0")
        if app:
            await self._commits.check_app(app)
        # Before the others are read: what happens meanwhile is above it.
        last = await self._ledger.events(1, "", 0, 1)
        latest = last[-1].number if last else 0
        above = above if above <= latest else max(0, latest - 1)
        found = await self._ledger.events(min(newest, MAX_EVENTS), app, above, PAGE_EVENTS)
        rows, following = first_page(((str(event.number), _row(event)) for event in found), "")
        more = bool(following) or len(found) == PAGE_EVENTS
        return EventPage(rows, rows[-1]["number"] if rows else latest, more)


def _row(event: Event) -> Row:
    return {
        "number": event.number,
        "when": event.when,
        "what": event.what,
        "who": event.who,
        "app": event.app,
        "detail": event.detail,
    }
