"""The kernel's list of listening sockets."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from deployd.processes import sock_diag
from deployd.processes.listeners import listeners

PROC = Path("/proc")


class SockDiagTests(SynchronousTestCase):
    def listen(self, family: int, address: str) -> socket.socket:
        opened = socket.socket(family)
        self.addCleanup(opened.close)
        try:
            opened.bind((address, 0))
        except OSError as error:
            raise SkipTest(f"no {address} here") from error
        opened.listen()
        return opened

    def check(self, family: int, address: str, raw: bytes) -> None:
        opened = self.listen(family, address)
        try:
            found = list(sock_diag.listening(family))
        except OSError as error:
            raise SkipTest("this kernel does not tell") from error
        inode, port = Path(f"/proc/self/fd/{opened.fileno()}").stat().st_ino, opened.getsockname()[1]
        self.assertIn(sock_diag.Found(port.to_bytes(2, "big"), raw, inode, 0), found)

    def test_tells_of_one_that_listens(self) -> None:
        self.check(socket.AF_INET, "127.0.0.1", bytes([127, 0, 0, 1]))

    def test_tells_of_one_port_alone(self) -> None:
        here, _ = (self.listen(socket.AF_INET, "127.0.0.1") for _ in range(2))
        port = here.getsockname()[1].to_bytes(2, "big")
        try:
            found = list(sock_diag.listening(socket.AF_INET, port))
        except OSError as error:
            raise SkipTest("this kernel does not tell") from error
        self.assertEqual([one.port for one in found], [port])

    def test_tells_of_one_of_ipv6(self) -> None:
        self.check(socket.AF_INET6, "::1", bytes(15) + b"\1")

    def test_gives_what_proc_gives(self) -> None:
        """But for what others open and close meanwhile: so only of sockets of our own, more than one answer holds."""
        opened = [self.listen(socket.AF_INET, "127.0.0.1") for _ in range(300)]
        waiting = socket.create_connection(opened[7].getsockname())
        self.addCleanup(waiting.close)
        ports = {one.getsockname()[1] for one in opened}
        copy = Path(self.mktemp())
        (copy / "net").mkdir(parents=True)
        for name in ("tcp", "tcp6"):
            (copy / "net" / name).write_bytes((PROC / "net" / name).read_bytes())
        asked = set(listeners(PROC, ports))
        self.assertEqual((len(asked), asked), (300, set(listeners(copy, ports))))
        self.assertEqual({one.queue for one in asked}, {0, 1})
