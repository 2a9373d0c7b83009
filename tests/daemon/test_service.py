"""Listening, before anything else is of use."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from deployd.daemon.options import DaemonOptions
from deployd.daemon.service import DaemonService
from deployd.errors import Refused


class Port:
    """A UDP port that is open until it is stopped."""

    def __init__(self) -> None:
        self.maxThroughput = 1 << 18
        self.is_open = True

    def stopListening(self) -> None:
        self.is_open = False


class Reactor(MemoryReactorClock):
    """The first ``taken`` UDP ports that are asked for are somebody else's."""

    def __init__(self, taken: int) -> None:
        super().__init__()
        self.taken = taken
        self.packets: list[Port] = []

    def listenUDP(self, port: int, protocol: DatagramProtocol, interface: str = "") -> Any:
        if self.taken:
            self.taken -= 1
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.packets.append(Port())
        return self.packets[-1]


class DatagramTests(SynchronousTestCase):
    def service(self, taken: int) -> DaemonService:
        options = DaemonOptions()
        options.parseOptions(["--state-dir", self.mktemp()])
        self.reactor = Reactor(taken)
        return DaemonService(self.reactor, options)

    def test_a_free_port_is_one_that_is_free_for_both(self) -> None:
        service = self.service(taken=3)
        service.listen_with_datagrams(0, "127.0.0.1", Factory(), DatagramProtocol())
        self.assertEqual((len(service._ports), len(self.reactor.packets)), (2, 1))
        # So that a flood of packets leaves time for all else.
        self.assertLess(self.reactor.packets[0].maxThroughput, 1000)
        service.stop_listening()
        self.assertFalse(self.reactor.packets[0].is_open)

    def test_a_port_in_use_is_told_in_one_line(self) -> None:
        for port in (0, 53):
            service = self.service(taken=1000)
            with self.assertRaisesRegex(Refused, f"^cannot listen on udp:{port}: address already in use$"):
                service.listen_with_datagrams(port, "", Factory(), DatagramProtocol())
            self.assertEqual(service._ports, [])
