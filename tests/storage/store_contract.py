"""What the hub relies on in a store; SQLite and memory both pass (design rule 8)."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from deployd.interfaces import MAX_EVENTS, OPENED, SAVED
from deployd.model.config import Config
from deployd.model.desired import Changes, Desired, Event, KnownDrone, Order
from deployd.model.drone import DroneDescription
from deployd.model.extra import Extra
from deployd.model.policy import AppPolicy, Policy
from deployd.model.release import DroneStatus, Release, ReleaseState, Selector
from deployd.model.route import Entry, Promotion, Route, RouteKey, Setting, Share
from deployd.model.router import KnownRouter

EVENT = Event(1700000000.5, "deploy", "deployctl 0.1@192.0.2.1", "webapp", "v1")
PUT_BACK = Event(1700000001.0, "hub restored", "hub")


def contents(state: Desired) -> Changes:
    """The changes that make ``state`` from nothing."""
    return Changes(
        apps=tuple(state.apps),
        drones=tuple(state.drones.values()),
        releases=tuple(state.releases.values()),
        orders=tuple(state.orders.values()),
        routes=tuple(state.routes.values()),
        policies=tuple(AppPolicy(app, policy) for app, policy in state.policies.items()),
        routers=tuple(state.routers.values()),
        configs=tuple(state.configs.values()),
        extras=tuple(state.extras.values()),
    )


class StoreContract:
    """A test case mixes it in and gives ``new`` and ``reopened``, a store on what the given one left."""

    def new(self: Any) -> Any:
        raise AssertionError("the test case says how")

    def reopened(self: Any, store: Any) -> Any:
        raise AssertionError("the test case says how")

    def loaded(self: Any, store: Any) -> Desired:
        return self.successResultOf(self.reopened(store).open(PUT_BACK)).desired

    def test_a_new_store_is_empty_and_starts_an_epoch(self: Any) -> None:
        one, other = (self.successResultOf(self.new().open(PUT_BACK)) for _ in range(2))
        self.assertEqual((one.desired, one.counter, one.restored), (Desired(), OPENED, False))
        self.assertNotEqual(one.epoch, other.epoch)
        self.assertGreaterEqual(len(one.epoch), 16)

    def test_opening_it_again_keeps_the_epoch_and_counts(self: Any) -> None:
        store = self.new()
        first = self.successResultOf(store.open(PUT_BACK))
        again = self.successResultOf(self.reopened(store).open(PUT_BACK))
        self.assertEqual((again.epoch, again.counter, again.restored), (first.epoch, 2 * OPENED, False))

    def test_every_save_counts_and_later_opens_go_on_from_there(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        counters = [self.successResultOf(store.save(Changes(apps=(name,)))) for name in ("a", "b")]
        self.assertEqual(counters, [OPENED + SAVED, OPENED + 2 * SAVED])
        again = self.successResultOf(self.reopened(store).open(PUT_BACK))
        self.assertEqual(again.counter, 2 * OPENED + 2 * SAVED)

    def test_a_new_epoch_is_saved_with_its_changes(self: Any) -> None:
        store = self.new()
        first = self.successResultOf(store.open(PUT_BACK))
        self.successResultOf(store.save(Changes(apps=("webapp",), events=(EVENT,)), "another"))
        again = self.reopened(store)
        saved = self.successResultOf(again.open(PUT_BACK))
        self.assertEqual((saved.epoch, saved.desired.apps, saved.restored), ("another", {"webapp"}, False))
        self.assertGreater(saved.counter, first.counter)
        self.assertEqual(self.successResultOf(again.events(10)), [EVENT])

    def check_saved_is_there_again(self: Any, state: Desired) -> None:
        """A property; Hypothesis wants each class to have a test of its own for it."""
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        self.successResultOf(store.save(contents(state)))
        self.assertEqual(self.loaded(store), state)

    def test_later_changes_replace_and_drop(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        release = Release("webapp", 1, "c" * 40, ReleaseState.DEPLOYING, 1700000000.25)
        orders = (Order("http-1", "webapp", "v1"), Order("http-2", "webapp", "v1", stopped=True))
        failed = evolve(
            release,
            state=ReleaseState.FAILED,
            reason="ключ",
            settled=Selector(False, frozenset({"d1"})),
            outcome=(DroneStatus("d1", "failed", "exited", "tail \x1b[0m\ud800"),),
        )
        for changes in (
            Changes(releases=(release,), orders=orders),
            Changes(releases=(failed,), orders=(evolve(orders[0], restarts=3),), dropped=("http-2", "nosuch")),
            Changes(forgotten=("nosuch",)),
        ):
            self.successResultOf(store.save(changes))
        expected = Desired().after(Changes(releases=(failed,), orders=(evolve(orders[0], restarts=3),)))
        self.assertEqual(self.loaded(store), expected)

    def test_configs_and_extras_come_and_go(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        configs = [Config("webapp", number, ("A",), f"sealed {number}") for number in (1, 2, 3)]
        extra = Extra("console", "webapp", 1, "console", ("sh",), False, frozenset({"d1"}), "sealed")
        for changes in (
            Changes(configs=tuple(configs[:2]), extras=(extra, evolve(extra, name="other"))),
            Changes(configs=(configs[2],), outdated=(configs[0].key, ("webapp", 9)), ended=("console", "nosuch")),
        ):
            self.successResultOf(store.save(changes))
        loaded = self.loaded(store)
        self.assertEqual(loaded.configs, {config.key: config for config in configs[1:]})
        self.assertEqual(loaded.extras, {"other": evolve(extra, name="other")})
        self.assertEqual((loaded.config("webapp"), loaded.config("another")), (configs[2], None))

    def test_routes_policies_and_routers_come_and_go(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        shop, api = RouteKey("shop.example"), RouteKey("*.example", "/api")
        setting = Setting("webapp", "http", (Share("v1", 90), Share("v2", 10)), preview=True)
        entries = (Entry(1, setting, 1.5, "me"), Entry(2, evolve(setting, sticky=True), 2.5, "ключ", "rollback", 1))
        promotion = Promotion("v3", (5, 100), 60.0, 1, setting, paused=True)
        first = Changes(
            routes=(Route(shop, entries, promotion), Route(api, entries[:1])),
            policies=(AppPolicy("webapp", Policy(keep=3, keep_for=60.0)),),
            routers=(KnownRouter("id1", "r1"), KnownRouter("id2", "r2")),
        )
        then = Changes(
            unrouted=(api, RouteKey("nosuch.example")),
            routes=(Route(shop, entries[1:]),),
            policies=(AppPolicy("webapp", Policy(drain=5.0)),),
            departed=("id1", "nosuch"),
            routers=(KnownRouter("id2", "r3"),),
        )
        self.successResultOf(store.save(first))
        self.assertEqual(self.loaded(store), Desired().after(first))
        self.successResultOf(store.save(then))
        loaded = self.loaded(store)
        self.assertEqual(loaded, Desired().after(first).after(then))
        self.assertEqual(list(loaded.routes), [shop])

    def test_a_drone_that_is_emptied_still_is_when_it_is_read_again(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        drone = KnownDrone(DroneDescription(name="d1", owner="o1"), "192.0.2.1", draining=True)
        self.successResultOf(store.save(Changes(drones=(drone,))))
        self.assertEqual(self.loaded(store).drones, {"d1": drone})

    def test_events_are_kept_in_order_and_bounded(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        some = tuple(evolve(EVENT, detail=str(number)) for number in range(MAX_EVENTS - 1))
        self.successResultOf(store.save(Changes(events=some)))
        self.successResultOf(store.save(Changes(events=(EVENT, EVENT, EVENT))))
        kept = self.successResultOf(self.reopened(store).events(MAX_EVENTS * 2))
        self.assertEqual(len(kept), MAX_EVENTS)
        self.assertEqual(kept[0].detail, "2")
        self.assertEqual(self.successResultOf(store.events(2)), [EVENT, EVENT])
        self.assertEqual(self.successResultOf(store.events(0)), [])

    def test_events_are_numbered_and_found_by_app_and_number(self: Any) -> None:
        store = self.new()
        self.successResultOf(store.open(PUT_BACK))
        some = tuple(evolve(EVENT, app=app, detail=app) for app in ("a", "b", "a", "", "a", "b"))
        self.successResultOf(store.save(Changes(events=some)))
        everything = self.successResultOf(store.events(10))
        numbers = [event.number for event in everything]
        self.assertEqual(everything, list(some))
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertGreater(numbers[0], 0)

        def found(*asked: Any) -> list[int]:
            return [numbers.index(event.number) for event in self.successResultOf(store.events(*asked))]

        self.assertEqual(found(10, "a"), [0, 2, 4])
        self.assertEqual(found(2, "a"), [2, 4])
        self.assertEqual(found(10, "", numbers[3]), [4, 5])
        self.assertEqual(found(1, "", numbers[3]), [5])
        self.assertEqual(found(10, "a", numbers[0], 1), [2])
        self.assertEqual(found(3, "", 0, 2), [3, 4])
        again = self.reopened(store)
        self.successResultOf(again.open(PUT_BACK))
        self.successResultOf(again.save(Changes(events=(EVENT,))))
        self.assertGreater(self.successResultOf(again.events(1))[0].number, numbers[-1])
