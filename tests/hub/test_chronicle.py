"""Events are told in pages, by number, so that who follows misses none and hears none twice."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from deployd.errors import UnknownApp, UsageError
from deployd.hub.chronicle import PAGE_EVENTS
from deployd.model.desired import Changes, Event
from deployd.wire.control import Events
from tests.hub.asking import done
from tests.hub.rig import Cluster

BEGAN = Event(1700000000.0, "deploy", "me", "webapp", "v1")


class ChronicleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.cluster.push("webapp")
        self.person = self.cluster.person

    def happen(self, *events: Event) -> None:
        done(self.cluster.store.save(Changes(events=tuple(events))), self.cluster.settle)

    def page(self, app: str = "", newest: int = 10_000, above: int = 0) -> dict[str, Any]:
        page: dict[str, Any] = self.person.ask(Events, app=app, newest=newest, above=above)
        return page

    def details(self, above: int) -> list[str]:
        """All pages."""
        found: list[str] = []
        while True:
            page = self.page(above=above)
            found += [row["detail"] for row in page["rows"]]
            if not page["more"]:
                return found
            above = page["number"]

    def test_a_row_says_when_what_and_who(self) -> None:
        self.happen(BEGAN)
        (row,) = self.page(newest=1)["rows"]
        number = row.pop("number")
        self.assertEqual(row, {"when": 1700000000.0, "what": "deploy", "who": "me", "app": "webapp", "detail": "v1"})
        self.assertEqual(self.page(newest=1)["number"], number)

    def test_all_pages_together_have_each_once(self) -> None:
        before = self.page()["number"]
        some = [evolve(BEGAN, detail=f"{number} {'x' * 200}") for number in range(PAGE_EVENTS * 2)]
        self.happen(*some)
        self.assertEqual(self.details(before), [event.detail for event in some])
        few = [evolve(BEGAN, detail=str(number)) for number in range(PAGE_EVENTS)]
        before = self.page(newest=0)["number"]
        self.happen(*few)
        self.assertEqual(self.details(before), [event.detail for event in few])

    def test_who_asked_for_none_goes_on_from_now(self) -> None:
        page = self.page("webapp", newest=0)
        self.assertEqual((page["rows"], page["more"]), ([], False))
        self.happen(evolve(BEGAN, app="other"), BEGAN)
        later = self.page("webapp", above=page["number"])
        self.assertEqual([row["app"] for row in later["rows"]], ["webapp"])
        self.assertEqual(self.page("webapp", above=later["number"])["rows"], [])

    def test_numbers_of_a_lost_state_go_on_with_the_newest(self) -> None:
        self.happen(BEGAN, evolve(BEGAN, what="hub restored"))
        page = self.page(above=10**9)
        self.assertEqual([row["what"] for row in page["rows"]], ["hub restored"])
        self.assertEqual(self.page(above=page["number"])["rows"], [])

    def test_what_is_asked_badly_is_refused(self) -> None:
        self.assertRaises(UnknownApp, self.page, "nosuch")
        self.assertRaises(UsageError, self.page, newest=-1)
        self.assertRaises(UsageError, self.page, above=-1)
        self.assertRaises(UsageError, self.page, above=2**80)
        self.happen(BEGAN)
        self.assertEqual(len(self.page(newest=2**80)["rows"]), 1)
