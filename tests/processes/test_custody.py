"""Whose the listening sockets of a port are, by a /proc of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes.custody import PROC, Holding, described, holding, listening, queued, sockets
from deployd.processes.trees import ProcessRef

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
APP, CHILD, OTHER, KEEPER = 100, 101, 200, 300


def hexed(address: str) -> str:
    raw = ip_address(address).packed
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words).hex().upper()


class Machine:
    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.tables = {"tcp": "", "tcp6": ""}
        (proc / "net").mkdir(parents=True)
        (proc / "self").mkdir()
        self._write()

    def socket(self, address: str, port: int, inode: int, state: str = "0A", table: str = "", queue: int = 0) -> None:
        kind = table or ("tcp6" if ":" in address else "tcp")
        other = "0" * len(hexed(address))
        line = f"   0: {hexed(address)}:{port:04X} {other}:0000 {state} 00000000:{queue:08X} 00:00000000 00000000  1000"
        self.tables[kind] += f"{line}        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
        self._write()

    def process(self, pid: int, *inodes: int, children: tuple[int, ...] = ()) -> None:
        directory = self.proc / str(pid) / "fd"
        directory.mkdir(parents=True)
        (directory / "0").symlink_to("/dev/null")
        (directory / "1").symlink_to("pipe:[3]")
        for number, inode in enumerate(inodes, 3):
            (directory / str(number)).symlink_to(f"socket:[{inode}]")
        thread = self.proc / str(pid) / "task" / str(pid)
        thread.mkdir(parents=True)
        (thread / "children").write_text("".join(f"{child} " for child in children))

    def holding(self, host: str, port: int, *tree: int, spared: tuple[int, ...] = ()) -> Holding:
        refs = frozenset(ProcessRef(pid, "boot:1") for pid in tree)
        return holding(self.proc, (host, port), tree[0], lambda: refs, spared)

    def _write(self) -> None:
        for kind, lines in self.tables.items():
            (self.proc / "net" / kind).write_text(HEADER + lines)


class MachineCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine(Path(self.mktemp()))


class HoldingTests(MachineCase):
    def test_a_socket_of_the_apps_own_process_is_its_own(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP), Holding(frozenset({7})))

    def test_a_socket_of_any_process_of_its_tree_is_its_own(self) -> None:
        """nginx and gunicorn: a master opens it, children hold it."""
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP)
        self.machine.process(CHILD, 5, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP, CHILD), Holding(frozenset({7})))

    def test_a_socket_of_a_grandchild_is_its_own_and_nobody_looks_at_the_whole_machine(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP, children=(CHILD,))
        self.machine.process(CHILD, children=(102, 103))
        self.machine.process(103, 7)
        found = holding(self.machine.proc, ("127.0.0.1", 20001), APP, lambda: self.fail("it looked"))
        self.assertEqual(found, Holding(frozenset({7})))

    def test_a_socket_that_only_the_keeper_has_is_neither_the_apps_nor_a_strangers(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP)
        self.machine.process(KEEPER, 7)
        found = self.machine.holding("127.0.0.1", 20001, APP, spared=(KEEPER,))
        self.assertEqual(found, Holding(frozenset({7}), known=False))
        self.machine.process(OTHER, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP, spared=(KEEPER,)).stranger, OTHER)

    def test_a_socket_that_the_keeper_handed_over_is_its_own(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP, 7)
        self.machine.process(KEEPER, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP, spared=(KEEPER,)), Holding(frozenset({7})))

    def test_a_socket_that_it_gave_to_somebody_else_too_is_still_its_own(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP)
        self.machine.process(CHILD, 7)
        self.machine.process(OTHER, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP, CHILD), Holding(frozenset({7})))

    def test_a_socket_of_somebody_else_is_a_strangers(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP, 8)
        self.machine.process(OTHER, 7)
        found = self.machine.holding("127.0.0.1", 20001, APP)
        self.assertEqual((found.stranger, found.known), (OTHER, False))
        text = "port 20001 is held by another process (pid 200)"
        self.assertEqual(described(("127.0.0.1", 20001), found), text)

    def test_a_stranger_that_shares_the_port_is_found(self) -> None:
        """SO_REUSEPORT: it would get a part of the connections."""
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.socket("127.0.0.1", 20001, 8)
        self.machine.process(APP, 7)
        self.machine.process(OTHER, 8)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP).stranger, OTHER)

    def test_workers_of_the_app_may_share_the_port(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.socket("127.0.0.1", 20001, 8)
        self.machine.process(APP, 7)
        self.machine.process(CHILD, 8)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP, CHILD), Holding(frozenset({7, 8})))

    def test_a_socket_whose_holder_cannot_be_seen_is_nobodys(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(APP)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP), Holding(frozenset({7}), known=False))

    def test_a_port_on_which_nobody_is_seen_is_nobodys(self) -> None:
        self.machine.process(APP)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP), Holding(frozenset(), known=False))

    def test_a_holder_that_ends_meanwhile_is_no_stranger(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(OTHER, 7)
        finds = iter(range(2))

        def find() -> frozenset[ProcessRef]:
            if next(finds) == 1:
                shutil.rmtree(self.machine.proc / str(OTHER))
            return frozenset()

        found = holding(self.machine.proc, ("127.0.0.1", 20001), APP, find)
        self.assertEqual(found, Holding(frozenset({7}), known=False))

    def test_a_process_that_is_gone_holds_nothing(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.process(OTHER, 7)
        self.assertEqual(self.machine.holding("127.0.0.1", 20001, APP).stranger, OTHER)


class SocketsTests(MachineCase):
    def found(self, host: str, port: int = 20001) -> set[int]:
        return set(sockets(self.machine.proc, [(host, port)])[(host, port)])

    def test_only_those_that_listen_on_the_very_port_count(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.socket("127.0.0.1", 20002, 8)
        self.machine.socket("127.0.0.1", 20001, 9, state="01")
        self.assertEqual(self.found("127.0.0.1"), {7})

    def test_other_addresses_do_not_count(self) -> None:
        self.machine.socket("10.0.0.1", 20001, 7)
        self.assertEqual(self.found("127.0.0.1"), set())
        self.assertEqual(self.found("10.0.0.1"), {7})

    def test_the_very_address_goes_before_all_and_ipv4_before_both(self) -> None:
        self.machine.socket("::", 20001, 9)
        self.assertEqual(self.found("127.0.0.1"), {9})
        self.machine.socket("0.0.0.0", 20001, 8)
        self.assertEqual(self.found("127.0.0.1"), {8})
        self.machine.socket("127.0.0.1", 20001, 7)
        self.assertEqual(self.found("127.0.0.1"), {7})

    def test_ipv4_written_as_ipv6_is_the_same_address(self) -> None:
        self.machine.socket("::ffff:127.0.0.1", 20001, 7, table="tcp6")
        self.assertEqual(self.found("127.0.0.1"), {7})

    def test_ipv6_has_its_own(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        self.machine.socket("::1", 20001, 8)
        self.assertEqual(self.found("::1"), {8})

    def test_an_app_on_all_addresses_meets_whoever_is_on_any(self) -> None:
        self.machine.socket("0.0.0.0", 20001, 7)
        self.machine.socket("10.0.0.1", 20001, 8)
        self.machine.socket("::", 20001, 9)
        self.assertEqual(self.found("0.0.0.0"), {7, 8, 9})

    def test_connections_that_nobody_has_accepted_are_counted(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7, queue=3)
        self.machine.socket("127.0.0.1", 20002, 8, queue=5)
        self.assertEqual(queued(self.machine.proc, ("127.0.0.1", 20001)), 3)
        self.assertEqual(queued(self.machine.proc, ("127.0.0.1", 20003)), 0)

    def test_where_an_app_listens_is_told(self) -> None:
        self.machine.socket("127.0.0.1", 3000, 7)
        self.machine.socket("::", 3001, 8)
        self.machine.socket("127.0.0.1", 3002, 9)
        self.machine.socket("127.0.0.1", 40000, 10, state="01")
        self.machine.process(APP, 7, children=(CHILD,))
        self.machine.process(CHILD, 8, 10)
        self.machine.process(OTHER, 9)
        near = ("127.0.0.1:3000", "[::]:3001")
        self.assertEqual(listening(self.machine.proc, APP, tuple), near)
        far = listening(self.machine.proc, APP, lambda: [ProcessRef(OTHER, "boot:1")])
        self.assertEqual(far, ("127.0.0.1:3000", "127.0.0.1:3002", "[::]:3001"))

    def test_many_are_looked_up_in_one_reading(self) -> None:
        for number in range(300):
            self.machine.socket("127.0.0.1", 20000 + number, 1000 + number)
        asked = [("127.0.0.1", 20000 + number) for number in range(0, 300, 3)]
        found = sockets(self.machine.proc, asked)
        self.assertEqual(found, {bind: frozenset({1000 + bind[1] - 20000}) for bind in asked})

    def test_a_machine_without_ipv6_is_read(self) -> None:
        self.machine.socket("127.0.0.1", 20001, 7)
        (self.machine.proc / "net" / "tcp6").unlink()
        self.assertEqual(self.found("127.0.0.1"), {7})

    def test_a_socket_of_this_process_is_found_in_the_real_proc(self) -> None:
        for address, family in (("127.0.0.1", socket.AF_INET), ("0.0.0.0", socket.AF_INET)):
            with socket.create_server((address, 0), family=family) as server:
                port, inode = server.getsockname()[1], os.fstat(server.fileno()).st_ino
                self.assertEqual(sockets(PROC, [(address, port)]), {(address, port): frozenset({inode})})
                own = holding(PROC, (address, port), os.getpid(), frozenset)
                self.assertEqual(own, Holding(frozenset({inode})))
                self.assertEqual(holding(PROC, (address, port), 0, frozenset).stranger, os.getpid())
