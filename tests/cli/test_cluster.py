"""deployctl's connections to the hub."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

import deployd
from deployd.errors import IncompatibleVersion, NoAnswer, SecretRefused, UnknownDrone, UnknownRoute, Unreachable
from deployd.net import handshake
from deployd.wire.control import ForgetDrone, RemoveRoute, Restart, RollBack
from tests.cli.clusters import Bench
from tests.cli.scripted_hub import drone


class ClusterTests(SynchronousTestCase):
    def test_lists_are_read_page_by_page(self) -> None:
        rows = [{"app": f"a{number}"} for number in range(7)]
        bench = Bench(lists={"apps": rows}, page=3)
        self.assertEqual(self.successResultOf(bench.start(bench.cluster.rows("apps"))), rows)
        self.assertEqual(len(bench.hub.asked_for("List")), 3)

    def test_one_connection_serves_all_calls(self) -> None:
        bench = Bench()
        for _ in range(3):
            self.successResultOf(bench.start(bench.cluster.rows("apps")))
        self.assertEqual(bench.way.dialled, 1)

    def test_a_hub_of_another_version_says_what_to_upgrade_and_nothing_else(self) -> None:
        self.patch(handshake, "OLDEST_VERSIONS", {"deploy": 9})
        bench = Bench()
        said = str(self.failureResultOf(bench.start(bench.cluster.rows("apps")), IncompatibleVersion).value)
        self.assertTrue(said.endswith(f"upgrade deployctl {deployd.__version__}"), said)

    def losing_the_first_answer(self, command: Any, **arguments: Any) -> tuple[Bench, Deferred[Any]]:
        """A hub that does what it is asked and goes away before it says so."""
        bench = Bench(seconds=10)
        self.successResultOf(bench.start(bench.cluster.rows("apps")))
        working = Deferred.fromCoroutine(bench.cluster.call(command, **arguments))
        (pump,) = bench.way._pumps
        data = pump.clientIO.getOutBuffer()
        pump.server.dataReceived(data)
        return bench, working

    def test_a_restart_whose_answer_is_lost_is_not_asked_for_again(self) -> None:
        bench, working = self.losing_the_first_answer(Restart, ids=["a"])
        bench.way.drop()
        bench.way.advance(3)
        self.assertIn("deployctl ps", str(self.failureResultOf(working, Unreachable).value))
        self.assertEqual(len(bench.hub.asked_for("Restart")), 1)

    def test_a_drone_that_is_forgotten_is_so_when_the_answer_is_lost(self) -> None:
        bench, working = self.losing_the_first_answer(ForgetDrone, name="d1")
        bench.way.drop()
        bench.hub.errors["ForgetDrone"] = UnknownDrone("there is no drone 'd1'")
        bench.way.advance(3)
        self.assertEqual(self.successResultOf(working), {})
        self.assertEqual(len(bench.hub.asked_for("ForgetDrone")), 2)
        self.failureResultOf(bench.start(bench.cluster.call(ForgetDrone, name="d1")), UnknownDrone)

    def test_a_rollback_whose_answer_is_lost_is_not_asked_for_again(self) -> None:
        """It would go back once more."""
        bench, working = self.losing_the_first_answer(RollBack, host="shop.example", path="/", to=0)
        bench.way.drop()
        bench.way.advance(3)
        self.assertIn("route show --history", str(self.failureResultOf(working, Unreachable).value))
        self.assertEqual(len(bench.hub.asked_for("RollBack")), 1)

    def test_a_route_that_is_removed_is_so_when_the_answer_is_lost(self) -> None:
        bench, working = self.losing_the_first_answer(RemoveRoute, host="shop.example", path="/")
        bench.way.drop()
        bench.hub.errors["RemoveRoute"] = UnknownRoute("there is no route 'shop.example'")
        bench.way.advance(3)
        self.assertEqual(self.successResultOf(working), {})

    def test_a_change_is_awaited_no_longer_than_asked(self) -> None:
        bench = Bench(seconds=100)
        working = bench.start(bench.cluster.change(1, within=0.5))
        bench.way.advance(0.4)
        self.assertNoResult(working)
        bench.way.advance(0.2)
        self.assertTrue(self.successResultOf(working))

    def test_a_change_is_awaited(self) -> None:
        bench = Bench()
        working = bench.start(bench.cluster.change(1))
        self.assertNoResult(working)
        bench.change(drones=[drone("d1", "ready")])
        self.assertTrue(self.successResultOf(working))

    def test_near_the_deadline_nothing_is_awaited_any_more(self) -> None:
        bench = Bench(seconds=10)
        bench.way.advance(9.8)
        self.assertFalse(self.successResultOf(bench.start(bench.cluster.change(1))))

    def test_the_hubs_loopback_is_replaced_by_the_host_that_was_dialled(self) -> None:
        bench = Bench(facts={"http": "127.0.0.1:6002", "registry": "10.0.0.9:6000"})
        self.assertEqual(self.successResultOf(bench.start(bench.cluster.hub_fact("http"))), "hubhost:6002")
        self.assertEqual(self.successResultOf(bench.start(bench.cluster.hub_fact("registry"))), "10.0.0.9:6000")
        self.assertEqual(self.successResultOf(bench.start(bench.cluster.hub_fact("x"))), "")

    def test_a_hub_that_was_never_there_is_not_waited_for(self) -> None:
        bench = Bench()
        bench.way.up = False
        self.failureResultOf(bench.start(bench.cluster.rows("apps")), Unreachable)
        self.assertEqual(bench.way.dialled, 1)

    def test_a_registry_that_nobody_names_is_asked_for(self) -> None:
        bench = Bench(facts={})
        failure = self.failureResultOf(bench.start(bench.cluster.registry()), Unreachable)
        self.assertIn("--registry", str(failure.value))

    def test_without_a_secret_the_hub_is_refused_and_the_registry_offered(self) -> None:
        bench = Bench(secret=None)
        failure = self.failureResultOf(bench.start(bench.cluster.registry()), SecretRefused)
        self.assertIn("--registry", str(failure.value))

    def test_a_server_that_says_nothing_is_no_answer(self) -> None:
        bench = Bench(seconds=3)
        bench.way.flush = lambda: None  # type: ignore[method-assign]
        working = bench.start(bench.cluster.rows("apps"))
        bench.clock.advance(3)
        self.failureResultOf(working, NoAnswer)
