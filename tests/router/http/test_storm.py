"""Anything in any order, and every count is back at 0."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.router.http.rig import GET, OK, POST, PUT, Rig, Wire

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"


class StormTests(SynchronousTestCase):
    @given(st.integers(0, 2**32))
    def test_after_any_storm_nothing_is_in_flight(self, seed: int) -> None:
        """Clients and apps do anything in any order; then they leave."""
        chance = random.Random(seed)
        rig = Rig(targets=3, body=3, answer=4, progress=4, stalled=3, head=3)
        clients: list[Wire] = []
        apps: list[Wire] = []
        requests = (GET, POST, PUT, POST[:-2], GET * 2, PUT[:20], b"GET / HTTP/9\r\n\r\n", UPGRADE)
        answers = (OK, OK[:-1], OK[:10], OK + OK, b"garbage\r\n", CHUNKS, CHUNKS[:-5], SWITCHED, b"x")
        for _ in range(40):
            clients = [wire for wire in clients if wire.open]
            apps = [wire for wire in apps if wire.open]
            act = chance.randrange(10)
            if act == 0 or not clients:
                clients.append(rig.client())
            elif act <= 2:
                chance.choice(clients).say(chance.choice(requests))
            elif act == 3 and rig.connecting():
                rig.refuse()
            elif act <= 5 and rig.connecting():
                apps.append(rig.accept())
            elif act <= 7 and apps:
                chance.choice(apps).say(chance.choice(answers))
            elif act == 8:
                wire = chance.choice(clients + apps)
                getattr(wire, chance.choice(("end", "reset", "fill", "drain") if wire.producer else ("reset",)))()
            else:
                rig.rows(chance.randrange(4), chance.randrange(3))
                rig.wait(chance.random())
        for wire in clients:
            if wire.open:
                wire.reset()
        while rig.connecting():
            rig.refuse()
        rig.wait(12)
        self.assertEqual(rig.in_flight(), 0)
        self.assertEqual((rig.factory.connections, rig.factory.requests), (0, 0))
        self.assertFalse(any(target.idle for target in rig.table.rows.targets.values()))
