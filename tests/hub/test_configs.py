"""An app's own environment: revisions, releases with them, and who is told of them."""

from __future__ import annotations

import io
import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.sealing import Seal
from deployd.errors import PermissionRefused, Refused, UnknownApp, UnknownCommit, UsageError
from deployd.model.desired import Changes
from deployd.model.extra import Extra
from deployd.model.instance import Goal, State
from deployd.wire.control import DrainDrone, GetConfig, SetConfig
from deployd.wire.fleet import FetchConfig
from tests.hub.asking import done
from tests.hub.rig import KEYS, Cluster, FakeDrone

CANARY = "xyzzy-canary"


class ConfigCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster()
        self.commit = self.cluster.push()
        self.d1 = self.cluster.drone("d1")

    def set(self, *unset: str, app: str = "webapp", **values: str) -> Any:
        asked = {"app": app, "values": json.dumps(values).encode(), "unset": list(unset)}
        return self.cluster.person.ask(SetConfig, **asked)

    def get(self, commit: str = "") -> tuple[int, dict[str, str]]:
        answer = self.cluster.person.ask(GetConfig, app="webapp", commit=commit)
        return answer["number"], json.loads(answer["values"])

    def fetch(self, drone: FakeDrone, release: str = "v1", extra: str = "", commit: str = "") -> dict[str, str]:
        asked = {"app": "webapp", "release": release, "commit": commit or self.commit, "extra": extra}
        return dict(json.loads(drone.ask(FetchConfig, **asked)["values"]))


class SetTests(ConfigCase):
    def test_each_change_is_a_revision_and_none_is_none(self) -> None:
        self.assertEqual(self.get(), (0, {}))
        self.assertEqual(self.set(A="1", B="2"), {"number": 1, "names": ["A", "B"], "changed": True})
        self.assertEqual(self.set(A="1"), {"number": 1, "names": ["A", "B"], "changed": False})
        self.assertEqual(self.set("B", A="3"), {"number": 2, "names": ["A"], "changed": True})
        self.assertEqual(self.set("B"), {"number": 2, "names": ["A"], "changed": False})
        self.assertEqual(self.get(), (2, {"A": "3"}))
        self.assertEqual(self.set("A"), {"number": 3, "names": [], "changed": True})
        self.assertEqual(self.get(), (3, {}))

    def test_is_kept_over_a_kill(self) -> None:
        self.set(A="ключ\n")
        self.cluster.restart()
        self.assertEqual(self.get(), (1, {"A": "ключ\n"}))
        self.assertEqual(self.set(A="ключ\n")["changed"], False)

    def test_what_no_release_has_goes_in_the_end(self) -> None:
        self.set(A="0")
        self.cluster.deploy()
        for number in range(1, 25):
            self.set(A=str(number))
        numbers = sorted(number for _, number in self.cluster.hub.ledger.desired.configs)
        self.assertEqual(numbers, [1, *range(6, 26)])
        self.assertEqual((self.get("v1"), self.get()), ((1, {"A": "0"}), (25, {"A": "24"})))

    def test_two_at_once_both_count(self) -> None:
        peer = self.cluster.person.peer
        asked = [{"app": "webapp", "values": json.dumps({name: "1"}).encode(), "unset": []} for name in "AB"]
        both = [peer.ask(SetConfig, one, 60) for one in asked]
        answers = [done(one, self.cluster.settle) for one in both]
        self.assertEqual([answer["number"] for answer in answers], [1, 2])
        self.assertEqual(self.get(), (2, {"A": "1", "B": "1"}))

    def test_what_no_app_may_be_given_is_refused_without_the_value(self) -> None:
        wrong = [{"PORT": CANARY}, {"DEPLOYD_X": CANARY}, {"1A": CANARY}, {"A": CANARY + "\0"}, {"A": CANARY * 9999}]
        for values in [*wrong, {f"A{n}": CANARY * 100 for n in range(40)}]:
            with self.assertRaises(UsageError) as caught:
                self.set(**values)
            self.assertNotIn(CANARY, str(caught.exception))
        with self.assertRaises(UnknownApp):
            self.set(app="nosuch", A="1")
        with self.assertRaisesRegex(UsageError, "nothing to set"):
            self.set()
        with self.assertRaisesRegex(UsageError, "A cannot be set and unset at once"):
            self.set("A", A="1")
        for values in (b"[]", b'{"A": 1}'):
            with self.assertRaises(UsageError):
                self.cluster.person.ask(SetConfig, app="webapp", values=values, unset=[])
        self.assertEqual(self.get(), (0, {}))

    def test_what_is_small_alone_may_be_too_much_together(self) -> None:
        self.set(A="a" * 30_000)
        with self.assertRaisesRegex(UsageError, "more than 40000 bytes together"):
            self.set(B="b" * 30_000)
        self.assertEqual(self.set("A", B="b" * 30_000)["number"], 2)

    def test_no_value_is_in_an_event_a_log_or_what_is_saved(self) -> None:
        text = io.StringIO()
        observer = lambda event: text.write(f"{formatEvent(event)} {event}\n")  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.set(OLD=CANARY)
        self.set("OLD", DATABASE_URL=CANARY, OTHER="1")
        events = done(self.cluster.store.events(100), self.cluster.settle)
        details = [event.detail for event in events if event.what == "config set"]
        self.assertEqual(details, ["revision 1: +OLD", "revision 2: +DATABASE_URL +OTHER -OLD"])
        self.assertIn("revision 2: +DATABASE_URL", text.getvalue())
        for kept in (text.getvalue(), repr(events), repr(self.cluster.hub.ledger.desired)):
            self.assertNotIn(CANARY, kept)


class KeyTests(ConfigCase):
    def lose_the_key(self) -> None:
        def keys(make: bool) -> tuple[bytes, ...]:
            if not make:
                raise Refused("the key is not there")
            return KEYS

        self.cluster.keys = keys

    def test_one_is_made_for_the_first_config_only(self) -> None:
        self.lose_the_key()
        self.assertEqual(self.set(A="1")["number"], 1)
        with self.assertRaisesRegex(Refused, "cannot be sealed: the key is not there"):
            self.set(app=self.another(), A="1")
        self.assertEqual(self.cluster.hub.ledger.desired.config("another"), None)

    def another(self) -> str:
        self.cluster.push("another")
        return "another"

    def test_that_is_lost_is_said_to_whoever_needs_it_and_the_hub_goes_on(self) -> None:
        self.set(A=CANARY)
        self.cluster.deploy()
        self.lose_the_key()
        for what in (lambda: self.get(), lambda: self.set(B="1"), lambda: self.fetch(self.d1)):
            with self.assertRaisesRegex(Refused, "revision 1 of the config of webapp cannot be read: the key is not"):
                what()
        self.cluster.restart()
        self.d1.join()
        self.assertEqual(self.cluster.states("v1"), ("deployed", {"d1": "ready"}))

    def test_another_one_is_found_out(self) -> None:
        self.set(A=CANARY, B="2")
        self.cluster.keys = lambda make: (b"b" * 43 + b"=",)
        with self.assertRaisesRegex(Refused, "revision 1 of the config of webapp was sealed with another key"):
            self.set(A="1")
        # All of it anew: what cannot be read is not needed.
        self.assertEqual(self.set("B", A="1"), {"number": 2, "names": ["A"], "changed": True})
        self.assertEqual(self.get(), (2, {"A": "1"}))

    def test_an_old_one_behind_the_new_one_still_opens(self) -> None:
        self.set(A="1")
        new = b"b" * 43 + b"="
        self.cluster.keys = lambda make: (new, *KEYS)
        self.assertEqual(self.get(), (1, {"A": "1"}))
        self.set(B="2")
        self.assertEqual(
            Seal(lambda make: (new,)).unseal(self.cluster.hub.ledger.desired.configs["webapp", 2].sealed),
            b'{"A":"1","B":"2"}',
        )


class ReleaseTests(ConfigCase):
    def test_a_changed_config_is_a_release_of_its_own_beside_the_old_one(self) -> None:
        self.cluster.deploy()
        self.set(A="1")
        answer = self.cluster.deploy()
        self.assertEqual((answer["commit"], answer["release"], answer["changed"]), (self.commit, "v2", True))
        self.assertEqual(self.d1.lines, {"http.v1": Goal.RUN, "http.v2": Goal.RUN})
        self.assertEqual(
            [line.config for line in sorted(self.d1.told[-1].values(), key=lambda one: one.release)], [0, 1]
        )
        self.assertEqual(len(set(self.d1.ids.values())), 2)

    def test_deployed_again_it_is_the_same_and_each_release_keeps_its_own(self) -> None:
        self.set(A="1")
        self.cluster.deploy()
        self.assertEqual(self.cluster.deploy()["changed"], False)
        self.set(A="2")
        self.assertEqual(self.cluster.deploy()["release"], "v2")
        self.assertEqual((self.cluster.deploy()["release"], self.cluster.deploy()["changed"]), ("v2", False))
        self.assertEqual(
            (self.get("v1"), self.get("v2"), self.get("master")), ((1, {"A": "1"}), (2, {"A": "2"}), (2, {"A": "2"}))
        )
        again = self.cluster.deploy("v1")
        self.assertEqual((again["release"], again["changed"]), ("v1", False))
        self.assertEqual([row["config"] for row in self.cluster.rows("releases", app="webapp")], [1, 2])

    def test_back_to_what_was_is_a_new_revision_too(self) -> None:
        self.set(A="1")
        self.cluster.deploy()
        self.set(A="2")
        self.assertEqual(self.set(A="1")["number"], 3)
        self.assertEqual(self.cluster.deploy()["release"], "v2")
        self.assertEqual(self.fetch(self.d1, "v2"), {"A": "1"})


class FetchTests(ConfigCase):
    def setUp(self) -> None:
        super().setUp()
        self.d2 = self.cluster.drone("d2")
        self.set(A=CANARY)
        self.cluster.deploy(drones=["d1"])

    def refused(self, drone: FakeDrone, **asked: str) -> None:
        with self.assertRaises(PermissionRefused) as caught:
            self.fetch(drone, **asked)
        self.assertNotIn(CANARY, str(caught.exception))

    def test_only_the_chosen_get_it(self) -> None:
        self.assertEqual(self.fetch(self.d1), {"A": CANARY})
        self.refused(self.d2)
        self.cluster.deploy(drones=["d2"])
        self.assertEqual(self.fetch(self.d2), {"A": CANARY})

    def test_one_that_does_not_take_the_app_does_not_get_it(self) -> None:
        d3 = self.cluster.drone("d3", apps=("other",))
        self.cluster.deploy()
        self.refused(d3)

    def test_one_that_only_says_that_it_runs_the_release_does_not_get_it(self) -> None:
        (one,) = self.d1.seen.values()
        self.d2.report(evolve(one, id="http-0123456789"))
        self.refused(self.d2)

    def test_one_that_goes_gets_it_as_long_as_it_runs(self) -> None:
        self.d1.follows = False
        self.cluster.person.ask(DrainDrone, name="d1", drain=True, force=True)
        self.assertEqual(self.fetch(self.d1), {"A": CANARY})
        self.d1.change("http", state=State.STOPPED)
        self.refused(self.d1)

    def test_another_commit_of_that_number_is_another_release(self) -> None:
        with self.assertRaises(UnknownCommit):
            self.fetch(self.d1, commit="0" * 40)
        with self.assertRaises(UnknownCommit):
            self.fetch(self.d1, "v9")

    def test_a_drone_has_to_join_first(self) -> None:
        stranger = self.cluster.drone("d4", joins=False)
        stranger.peer = self.cluster.connect("drone", stranger.identity, lambda _: stranger)
        self.refused(stranger)

    def test_the_largest_of_all_fit_a_message(self) -> None:
        self.set("A", **{f"C{number}": '"' * 9_900 for number in range(2)})
        self.cluster.deploy(drones=["d1"])
        configs = self.cluster.hub.configs
        sealed = done(Deferred.fromCoroutine(configs.sealed({"E": '"' * 8_000})), self.cluster.settle)
        extra = Extra("console", "webapp", 2, "console", ("sh",), False, frozenset(), sealed)
        adding = self.cluster.hub.ledger.change(lambda _: Changes(extras=(extra,)))
        done(Deferred.fromCoroutine(adding), self.cluster.settle)
        self.assertEqual([len(value) for value in self.fetch(self.d1, "v2", "console").values()], [9_900, 9_900, 8_000])

    def test_an_extra_has_its_own_above_it(self) -> None:
        hub = self.cluster.hub
        sealed = done(Deferred.fromCoroutine(hub.configs.sealed({"A": "own", "B": "2"})), self.cluster.settle)
        extra = Extra("console", "webapp", 1, "console", ("sh",), False, frozenset({"d1"}), sealed)
        done(Deferred.fromCoroutine(hub.ledger.change(lambda _: Changes(extras=(extra,)))), self.cluster.settle)
        self.assertEqual(self.fetch(self.d1, extra="console"), {"A": "own", "B": "2"})
        self.assertEqual(self.fetch(self.d1), {"A": CANARY})
        self.refused(self.d1, extra="nosuch")
        self.cluster.deploy()
        self.refused(self.d2, extra="console")
