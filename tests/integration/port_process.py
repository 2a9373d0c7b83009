"""A drone's ports in a process of its own, or a program that binds ports as it likes: what it did comes out as JSON.

``drone FIRST LAST ROUNDS QUARANTINE SEED``: allocates, has an app listen, looks whose the port is, and releases.
``foreign FIRST LAST SEED``: binds random ports until its input ends.
Times are the machine's monotonic ones, so that they can be compared.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
import time
from collections import Counter

from attrs import frozen
from twisted.internet.task import Clock

from deployd import errors
from deployd.processes.custody import PROC, holding
from deployd.processes.ports import Port, Ports

AT_ONCE = 12


@frozen
class _Use:
    """``again``: it was given back to whoever had it last."""

    port: Port
    asked: float
    given: float
    again: bool
    app: socket.socket | None = None


class Drone:
    def __init__(self, first: int, last: int, quarantine: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._clock = Clock()
        self._clock.advance(time.monotonic())
        self._ports = Ports(first, last, self._clock, quarantine, start=self._random.randrange(65536))
        self._held: list[_Use] = []
        self.uses: list[tuple[int, float, float, float, bool]] = []
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def round(self) -> None:
        self._pass_time()
        if len(self._held) >= AT_ONCE or (self._held and self._random.random() < 0.3):
            freed = self._release()
            if self._random.random() < 0.5:
                self._allocate(freed)
                return
        self._allocate(None)

    def close(self) -> None:
        while self._held:
            self._release()

    def _allocate(self, preferred: int | None) -> None:
        asked = time.monotonic()
        try:
            port = self._ports.allocate(preferred)
        except errors.Refused:
            self.counts["none free"] += 1
            time.sleep(0.005)
            return
        given = time.monotonic()
        self.counts["given"] += 1
        app = socket.socket()
        app.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            app.bind(("127.0.0.1", port.number))
            app.listen()
        except OSError:
            # Somebody who knows nothing of drones was faster.
            self.counts["lost"] += 1
            app.close()
            self._look_for_stranger(port.number)
            self._rest(_Use(port, asked, given, port.number == preferred))
            return
        self._look_for_own(port.number, app)
        self._held.append(_Use(port, asked, given, port.number == preferred, app))

    def _release(self) -> int:
        use = self._held.pop(self._random.randrange(len(self._held)))
        assert use.app
        use.app.close()
        self._rest(use)
        return use.port.number

    def _rest(self, use: _Use) -> None:
        ended = time.monotonic()
        self._pass_time()
        self._ports.release(use.port)
        self.uses.append((use.port.number, use.asked, use.given, ended, use.again))

    def _pass_time(self) -> None:
        self._clock.advance(max(0.0, time.monotonic() - self._clock.seconds()))

    def _look_for_own(self, number: int, app: socket.socket) -> None:
        found = holding(PROC, ("127.0.0.1", number), os.getpid(), tuple)
        inode = os.fstat(app.fileno()).st_ino
        if found.stranger or not found.known or found.sockets != {inode}:
            self.wrong.append(f"{number} is this app's (socket {inode}), but {found}")

    def _look_for_stranger(self, number: int) -> None:
        found = holding(PROC, ("127.0.0.1", number), os.getpid(), tuple)
        if found.known:
            self.wrong.append(f"{number} is a stranger's, but {found}")


class Foreigner:
    """Holds a few ports at a time, each for some milliseconds."""

    def __init__(self, first: int, last: int, seed: int) -> None:
        self._range = (first, last)
        self._random = random.Random(seed)
        self._held: list[tuple[int, float, socket.socket]] = []
        self.uses: list[tuple[int, float, float]] = []

    def round(self) -> None:
        if len(self._held) > 6:
            number, since, listener = self._held.pop(0)
            self.uses.append((number, since, time.monotonic()))
            listener.close()
        listener = socket.socket()
        number = self._random.randint(*self._range)
        try:
            listener.bind((self._random.choice(["127.0.0.1", "0.0.0.0"]), number))
            listener.listen()
        except OSError:
            listener.close()
            return
        self._held.append((number, time.monotonic(), listener))

    def close(self) -> None:
        now = time.monotonic()
        self.uses += [(number, since, now) for number, since, _ in self._held]


def main(kind: str, *numbers: str) -> None:
    if kind == "drone":
        first, last, rounds, seed = int(numbers[0]), int(numbers[1]), int(numbers[2]), int(numbers[4])
        drone = Drone(first, last, float(numbers[3]), seed)
        print(flush=True)
        sys.stdin.readline()
        while drone.counts["given"] < rounds:
            drone.round()
        drone.close()
        print(json.dumps({"uses": drone.uses, "counts": drone.counts, "wrong": drone.wrong}), flush=True)
        # What it has released rests on, while the other drone has rounds to go.
        sys.stdin.read()
    else:
        foreigner = Foreigner(*map(int, numbers))
        print(flush=True)
        while not select.select([sys.stdin], [], [], 0.001)[0]:
            foreigner.round()
        foreigner.close()
        print(json.dumps({"uses": foreigner.uses}))


if __name__ == "__main__":
    main(*sys.argv[1:])
