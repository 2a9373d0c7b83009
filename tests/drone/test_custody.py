"""Only the app itself is in the port table, whoever else is on its port."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from deployd.drone.custody import PortWatch
from deployd.drone.instance import Instance
from deployd.model.instance import State
from deployd.model.role import Check
from deployd.processes.custody import Holding
from tests.drone.house import House, line, state_of

STRANGER = Holding(frozenset({7}), stranger=4242)


class CustodyCase(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.house = House(directory)
        self.addCleanup(self.house.close)
        self.instances: list[Instance] = []
        self.watch = PortWatch(self.house.means, lambda: self.instances)
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def ready(self) -> tuple[Instance, int]:
        instance = self.house.ready()
        self.instances.append(instance)
        return instance, instance.observed().port

    def unseen(self, inode: int) -> Deferred[Holding]:
        return succeed(Holding(frozenset({inode}), known=False))

    def rows(self) -> set[str]:
        return set(self.house.rows.table)


class BeforeReadyTests(CustodyCase):
    def instance(self) -> tuple[Instance, int]:
        """One that has started, on whose port a stranger is."""
        self.house.opens_at_once = False
        instance = self.house.instance()
        instance.start(instance.line)
        self.house.reactor.advance(0)
        port = instance.observed().port
        self.house.custody.answers[port] = STRANGER
        self.house.listening.add(port)
        self.house.pass_time(2)
        return instance, port

    def test_a_stranger_on_the_port_keeps_it_from_being_ready_and_is_named(self) -> None:
        instance, port = self.instance()
        seen = instance.observed()
        self.assertEqual((seen.state, self.rows()), (State.STARTING, set()))
        self.assertEqual(seen.reason, f"port {port} is held by another process (pid 4242)")
        self.assertNotIn(f"put {instance.line.id}", self.house.happened)

    def test_it_is_ready_once_the_stranger_is_gone(self) -> None:
        instance, port = self.instance()
        del self.house.custody.answers[port]
        self.house.pass_time(1)
        seen = instance.observed()
        self.assertEqual((seen.state, seen.reason, self.rows()), (State.READY, "", {instance.line.id}))

    def test_a_stranger_that_stays_is_a_failed_start_in_the_end(self) -> None:
        instance, port = self.instance()
        self.house.pass_time(Check().deadline, step=0.5)
        seen = instance.observed()
        self.assertEqual(seen.failures, 1)
        self.assertEqual(seen.reason, f"port {port} is held by another process (pid 4242)")
        self.assertEqual(self.rows(), set())

    def test_who_cannot_be_known_is_let_pass(self) -> None:
        self.house.custody.holding = lambda *_: self.unseen(3)  # type: ignore[method-assign]
        self.assertEqual(state_of(self.house.ready()), "ready")

    def test_it_is_not_registered_before_it_is_known_who_listens(self) -> None:
        looking: Deferred[Holding] = Deferred()
        self.house.custody.holding = lambda *_: looking  # type: ignore[method-assign]
        instance = self.house.ready()
        self.assertEqual((state_of(instance), self.rows()), ("starting", set()))
        looking.callback(Holding(frozenset({3})))
        self.assertEqual(state_of(instance), "ready")

    def test_one_without_a_port_is_not_asked(self) -> None:
        self.house.ready(line(port=False))
        self.assertEqual(self.house.custody.asked, [])


class WhileReadyTests(CustodyCase):
    def test_as_long_as_the_socket_is_the_same_nobody_looks_closer(self) -> None:
        instance, _ = self.ready()
        self.house.pass_time(10)
        self.assertEqual((state_of(instance), self.house.custody.looks), ("ready", 10))
        self.assertEqual(len(self.house.custody.asked), 1)

    def test_a_stranger_that_takes_the_port_over_costs_it_its_row_at_once(self) -> None:
        instance, port = self.ready()
        self.house.custody.found[port] = frozenset({7})
        self.house.custody.answers[port] = STRANGER
        self.house.pass_time(1.05)
        self.assertEqual(self.rows(), set())
        seen = instance.observed()
        self.assertEqual((seen.state, seen.failures), (State.BACKOFF, 0))
        self.assertEqual(seen.reason, f"port {port} is held by another process (pid 4242)")
        self.assertEqual(self.house.happened[-2:], [f"free {instance.line.id}", f"TERM {instance.line.id}"])

    def test_it_is_started_again_and_ready_once_it_has_a_port_of_its_own(self) -> None:
        instance, port = self.ready()
        self.house.custody.found[port] = frozenset({7})
        self.house.custody.answers[port] = STRANGER
        self.house.pass_time(1.05)
        del self.house.custody.found[port], self.house.custody.answers[port]
        self.house.pass_time(15)
        self.assertEqual((state_of(instance), self.rows()), ("ready", {instance.line.id}))

    def test_a_port_on_which_nobody_listens_is_given_a_second_look(self) -> None:
        instance, port = self.ready()
        self.house.custody.found[port] = frozenset()
        self.house.pass_time(1.05)
        self.assertEqual((state_of(instance), self.rows()), ("ready", {instance.line.id}))
        self.house.pass_time(1)
        self.assertEqual((state_of(instance), self.rows()), ("backoff", set()))
        self.assertEqual(instance.observed().reason, f"nothing listens on port {port} any more")

    def test_somebody_who_cannot_be_seen_is_not_the_app_that_could(self) -> None:
        instance, port = self.ready()
        self.house.custody.found[port] = frozenset({7})
        self.house.custody.answers[port] = Holding(frozenset({7}), known=False)
        self.house.pass_time(1.05)
        self.assertEqual(state_of(instance), "ready")
        self.house.pass_time(1)
        self.assertEqual((state_of(instance), self.rows()), ("backoff", set()))
        self.assertEqual(instance.observed().reason, f"port {port} is held by another process")

    def test_an_app_that_could_not_be_seen_before_may_open_a_new_socket(self) -> None:
        self.house.custody.holding = lambda *_: self.unseen(3)  # type: ignore[method-assign]
        instance, port = self.ready()
        self.house.custody.holding = lambda *_: self.unseen(7)  # type: ignore[method-assign]
        self.house.custody.found[port] = frozenset({7})
        self.house.pass_time(5)
        self.assertEqual((state_of(instance), self.rows()), ("ready", {instance.line.id}))

    def test_an_app_that_listens_again_at_once_is_left_alone(self) -> None:
        instance, port = self.ready()
        for number in range(5):
            self.house.custody.found[port] = frozenset()
            self.house.pass_time(1)
            self.house.custody.found[port] = frozenset({100 + number})
            self.house.custody.answers[port] = Holding(frozenset({100 + number}))
            self.house.pass_time(1)
        self.house.pass_time(3)
        self.assertEqual((state_of(instance), self.rows()), ("ready", {instance.line.id}))
        self.assertEqual(len(self.house.custody.asked), 6)

    def test_one_that_waits_for_the_registry_is_looked_at_too(self) -> None:
        self.house.rows.hold()
        instance, port = self.ready()
        self.assertEqual(state_of(instance), "registering")
        self.house.custody.found[port] = frozenset({7})
        self.house.custody.answers[port] = STRANGER
        self.house.pass_time(1.05)
        self.assertEqual(state_of(instance), "backoff")
        self.house.rows.release()
        self.assertEqual(self.rows(), set())

    def test_what_is_seen_of_an_earlier_process_does_not_concern_the_next(self) -> None:
        instance, port = self.ready()
        held: Deferred[Holding] = Deferred()
        answering = self.house.custody.holding
        self.house.custody.holding = lambda *_: held  # type: ignore[method-assign]
        self.house.custody.found[port] = frozenset({7})
        self.house.pass_time(1.05)
        self.house.custody.holding = answering  # type: ignore[method-assign]
        self.house.custody.found.clear()
        self.house.process.exit(1)
        self.house.pass_time(5)
        self.assertEqual(state_of(instance), "ready")
        held.callback(STRANGER)
        self.assertEqual(state_of(instance), "ready")

    def test_a_look_that_fails_is_followed_by_the_next(self) -> None:
        instance, port = self.ready()
        looking = self.house.custody.sockets
        self.house.custody.sockets = lambda _: fail(RuntimeError("no /proc"))  # type: ignore[method-assign]
        self.house.pass_time(1.05)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.house.custody.sockets = looking  # type: ignore[method-assign]
        self.house.custody.found[port] = frozenset()
        self.house.pass_time(2.05)
        self.assertEqual(state_of(instance), "backoff")

    def test_without_instances_nothing_is_read(self) -> None:
        self.house.pass_time(5)
        self.assertEqual(self.house.custody.looks, 0)
