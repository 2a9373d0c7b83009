"""Ports on real sockets: a range of eight, chosen by process id so that two test runs seldom meet."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import ExitStack, closing

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from deployd import errors
from deployd.processes import ports as module
from deployd.processes.ports import Port, Ports

FIRST = 10000 + os.getpid() % 1000 * 8
LAST = FIRST + 7


def listener(number: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, number))


class PortsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def ports(self, first: int = FIRST, last: int = LAST, start: int = 0) -> Ports:
        ports = Ports(first, last, self.clock, quarantine=60.0, start=start)
        self.addCleanup(ports.close)
        return ports


class AllocateTests(PortsCase):
    def test_walks_the_range_from_its_start(self) -> None:
        ports = self.ports(start=3)
        numbers = [ports.allocate().number for _ in range(8)]
        self.assertEqual(numbers, [*range(FIRST + 3, LAST + 1), *range(FIRST, FIRST + 3)])

    def test_skips_what_another_program_listens_on(self) -> None:
        """On whichever address and family."""
        with closing(listener(FIRST)), closing(listener(FIRST + 1, "0.0.0.0")):
            self.assertEqual(self.ports().allocate().number, FIRST + 2)
        with closing(socket.create_server(("::", FIRST), family=socket.AF_INET6, dualstack_ipv6=False)):
            self.assertEqual(self.ports(start=0).allocate().number, FIRST + 1)

    def test_two_drones_on_one_host_never_meet(self) -> None:
        one, two = self.ports(), self.ports()
        numbers = [ports.allocate().number for _ in range(4) for ports in (one, two)]
        self.assertEqual(sorted(numbers), list(range(FIRST, LAST + 1)))

    def test_a_full_range_is_refused_with_the_numbers(self) -> None:
        ports = self.ports(last=FIRST + 3)
        first = ports.allocate()
        ports.allocate()
        ports.release(first)
        with closing(listener(FIRST + 2)), closing(listener(FIRST + 3)):
            error = self.refusal(ports)
        self.assertIn(f"no free port in {FIRST}-{FIRST + 3}: of 4, 1 are in use by this drone, 1 rest", error)
        self.assertIn("2 are taken by other programs", error)

    def test_a_wrong_range_is_a_usage_error(self) -> None:
        for first, last in ((0, 10), (20, 10), (1, 65536)):
            with self.assertRaises(errors.UsageError):
                Ports(first, last, self.clock)

    def refusal(self, ports: Ports) -> str:
        with self.assertRaises(errors.Refused) as caught:
            ports.allocate()
        return str(caught.exception)


class RestTests(PortsCase):
    def test_a_released_port_rests_for_its_quarantine(self) -> None:
        ports = self.ports(last=FIRST)
        ports.release(ports.allocate())
        self.clock.advance(59.9)
        with self.assertRaises(errors.Refused):
            ports.allocate()
        self.clock.advance(0.2)
        self.assertEqual(ports.allocate().number, FIRST)

    def test_other_drones_let_it_rest_too(self) -> None:
        ports, other = self.ports(last=FIRST), self.ports(last=FIRST)
        ports.release(ports.allocate())
        with self.assertRaises(errors.Refused):
            other.allocate()
        self.clock.advance(60)
        self.assertEqual(other.allocate().number, FIRST)

    def test_whoever_had_it_gets_it_back_at_once(self) -> None:
        ports = self.ports()
        port = ports.allocate()
        ports.release(port)
        self.assertEqual(ports.allocate(preferred=port.number).number, port.number)
        self.clock.advance(120)
        self.assertNotIn(port.number, {ports.allocate().number for _ in range(7)})

    def test_releasing_twice_does_not_free_the_next_holder(self) -> None:
        ports, other = self.ports(), self.ports()
        old = ports.allocate()
        ports.release(old)
        new = ports.allocate(preferred=old.number)
        ports.release(old)
        self.clock.advance(120)
        self.assertNotIn(new.number, {other.allocate().number for _ in range(7)})

    def test_few_descriptors_are_kept_for_resting_ports(self) -> None:
        """The oldest give up their claim on the host, not their rest here."""
        self.patch(module, "HELD_WHILE_RESTING", 2)
        ports, other = self.ports(), self.ports()
        for port in [ports.allocate() for _ in range(4)]:
            ports.release(port)
        self.assertEqual(ports.allocate().number, FIRST + 4)
        self.assertEqual([other.allocate().number for _ in range(2)], [FIRST, FIRST + 1])
        self.assertEqual(other.allocate().number, FIRST + 5)

    def test_one_that_comes_and_goes_takes_the_claim_of_no_other_that_rests(self) -> None:
        self.patch(module, "HELD_WHILE_RESTING", 2)
        ports, other = self.ports(), self.ports()
        resting, busy = ports.allocate(), ports.allocate()
        ports.release(resting)
        for _ in range(5):
            ports.release(busy)
            busy = ports.allocate(preferred=busy.number)
        self.assertEqual(other.allocate().number, FIRST + 2)

    def test_close_leaves_no_claim_and_no_timer(self) -> None:
        ports, other = self.ports(), self.ports()
        ports.release(ports.allocate())
        ports.allocate()
        ports.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([other.allocate().number for _ in range(2)], [FIRST, FIRST + 1])


class PreferredTests(PortsCase):
    def test_is_given_when_it_is_free(self) -> None:
        self.assertEqual(self.ports().allocate(preferred=FIRST + 5).number, FIRST + 5)

    def test_another_is_given_when_it_is_not(self) -> None:
        """In use here, claimed by another drone, listened on by a stranger, or outside the range."""
        ports, other = self.ports(), self.ports()
        here, there = ports.allocate(), other.allocate()
        for number in (here.number, there.number, 1):
            self.assertNotIn(ports.allocate(preferred=number).number, (here.number, there.number, 1))
        with closing(listener(FIRST + 7)):
            self.assertNotEqual(ports.allocate(preferred=FIRST + 7).number, FIRST + 7)

    def test_is_given_although_the_keeper_listens_on_it_for_its_instance(self) -> None:
        ports, other = self.ports(), self.ports()
        port = ports.allocate(preferred=FIRST + 5)
        with closing(listener(FIRST + 5)):
            ports.release(port)
            self.assertNotEqual(ports.allocate(preferred=FIRST + 5).number, FIRST + 5)
            self.assertEqual(ports.allocate(preferred=FIRST + 5, held=True).number, FIRST + 5)
            self.assertNotEqual(ports.allocate(preferred=FIRST + 5, held=True).number, FIRST + 5)
            self.assertNotEqual(other.allocate(preferred=FIRST + 5, held=True).number, FIRST + 5)

    def test_is_given_while_old_connections_linger_on_it(self) -> None:
        """The last process closed first, so its side is in TIME_WAIT; a new holder is not given such a port."""
        with closing(listener(0)) as server:  # any port: it lingers beyond this test
            number = int(server.getsockname()[1])
            with closing(socket.create_connection(("127.0.0.1", number))) as client:
                accepted, _ = server.accept()
                accepted.close()
                client.recv(1)
        with self.assertRaises(errors.Refused):
            self.ports(number, number).allocate()
        self.assertEqual(self.ports(number, number).allocate(preferred=number).number, number)


class AdoptTests(PortsCase):
    def test_takes_a_port_that_its_own_app_listens_on(self) -> None:
        ports, other = self.ports(), self.ports()
        with closing(listener(FIRST)):
            port = ports.adopt(FIRST)
            self.assertEqual(port and port.number, FIRST)
            self.assertIsNone(other.adopt(FIRST))
            self.assertIsNone(ports.adopt(FIRST))
        self.assertEqual(other.allocate().number, FIRST + 1)


operations = st.lists(
    st.tuples(st.sampled_from(["new", "again", "free", "wait", "bind", "die"]), st.integers(0, 1), st.integers(0, 7)),
    max_size=40,
)


class TwoDronesProperties(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(operations)
    def test_no_port_is_given_twice_or_too_soon(self, steps: list[tuple[str, int, int]]) -> None:
        """Whatever two drones, foreign programs and time do on one host."""
        clock = Clock()
        drones = [Ports(FIRST, LAST, clock, start=index * 3) for index in (0, 1)]
        held: list[list[Port]] = [[], []]
        freed: dict[int, float] = {}
        with ExitStack() as foreign:
            for ports in drones:
                # Also when it fails: the next example is about other drones.
                foreign.callback(ports.close)
            bound: set[int] = set()
            for step, drone, value in steps:
                if step == "new":
                    self._new(drones[drone], held, drone, freed, bound, clock.seconds())
                elif step == "again" and held[drone]:
                    port = held[drone].pop(value % len(held[drone]))
                    drones[drone].release(port)
                    held[drone].append(drones[drone].allocate(preferred=port.number))
                    self.assertEqual(held[drone][-1].number, port.number)
                elif step == "free" and held[drone]:
                    port = held[drone].pop(value % len(held[drone]))
                    drones[drone].release(port)
                    freed[port.number] = clock.seconds()
                elif step == "wait":
                    clock.advance(value * 10)
                elif step == "bind" and FIRST + value not in bound | set(self._numbers(held)):
                    foreign.enter_context(closing(listener(FIRST + value)))
                    bound.add(FIRST + value)
                elif step == "die":
                    drones[drone].close()
                    held[drone] = []
                    freed.clear()
        for ports in drones:
            ports.close()
        self.assertEqual(clock.getDelayedCalls(), [])

    def _numbers(self, held: list[list[Port]]) -> list[int]:
        return [port.number for ports in held for port in ports]

    def _new(
        self, ports: Ports, held: list[list[Port]], drone: int, freed: dict[int, float], bound: set[int], now: float
    ) -> None:
        resting = {number for number, when in freed.items() if now - when < 60}
        try:
            port = ports.allocate()
        except errors.Refused:
            free = set(range(FIRST, LAST + 1)) - resting - bound - set(self._numbers(held))
            self.assertEqual(free, set())
            return
        self.assertNotIn(port.number, self._numbers(held))
        self.assertNotIn(port.number, bound)
        self.assertNotIn(port.number, resting)
        held[drone].append(port)


class ShortageTests(PortsCase):
    def test_a_drone_out_of_descriptors_is_told_so_and_loses_no_port(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        ports = self.ports(last=FIRST)
        # Room for the claim, none for the bind test; then for neither.
        for spare, sentence in ((1, "cannot be tested"), (0, "cannot be claimed")):
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
            try:
                with self.assertRaises(errors.Refused) as caught:
                    ports.allocate()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            self.assertEqual(str(caught.exception), f"port {FIRST} {sentence}: Too many open files")
        self.assertEqual(ports.allocate().number, FIRST)
