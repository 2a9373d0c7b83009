"""A constant load on two routers, from a process of its own, and the record of every request of it.

A closed loop has so many clients, each of which sends its next request on a kept-alive connection when it has the
answer to the last; some ask for what takes long. An open loop sends so many requests a second, each on a new
connection, whatever became of the others. A client knows the addresses of both routers, as from DNS: where one refuses,
or hangs up before an answer, it asks the other once, and the record says so. A POST is asked elsewhere only when the
first router refused the connection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tests.e2e.waiting import until

PATIENCE = 20.0
# The loop, and the path, of requests that take long.
SLOW = "/slow"
# After so many requests a connection is given up for one to the next router.
TURN = 25


@dataclass
class Record:
    """One request. Times are those of the machine's monotonic clock, which all processes share."""

    loop: str
    method: str
    start: float
    router: int
    end: float = 0.0
    status: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    elsewhere: str = ""
    """Why the router that was asked first did not answer."""

    @property
    def worked(self) -> bool:
        return self.status == 200 and not self.error

    def __str__(self) -> str:
        seconds = self.end - self.start
        said = self.error or f"{self.status} {self.answer.get('release', self.answer)}"
        first = f", after router {1 - self.router}: {self.elsewhere}" if self.elsewhere else ""
        return f"{self.loop} {self.method} to router {self.router}, {seconds:.3f} s: {said}{first}"


class HungUp(Exception):
    """The router closed the connection before it had answered."""


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.turns = 0
        self.open = True

    @property
    def usable(self) -> bool:
        return self.open and not self.reader.at_eof() and self.turns < TURN

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.turns += 1
        try:
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.close()
            partial = getattr(error, "partial", b"")
            if partial:
                raise ValueError(f"a torn head: {partial!r}") from error
            raise HungUp(f"hung up in request {self.turns} of the connection ({type(error).__name__})") from error
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:-2])
        body = await self.reader.readexactly(int(fields[b"content-length"]))
        if fields.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split()[1]), body

    def close(self) -> None:
        self.open = False
        self.writer.close()


class Load:
    """``out`` gets a line for each request when it is over."""

    def __init__(self, host: str, routers: list[tuple[str, int]], posts: float, out: TextIO) -> None:
        self.host = host
        self.out = out
        self.routers = routers
        self.posts = posts
        self.ending = False
        self._number = 0

    def end(self) -> None:
        self.ending = True

    async def closed(self, pause: float, loop: str = "closed") -> None:
        connection: Connection | None = None
        router = self._number
        while not self.ending:
            if connection is None or not connection.usable:
                router += 1
                if connection is not None:
                    connection.close()
                    connection = None
            record, connection = await self._one(loop, "GET", router % len(self.routers), connection)
            router = record.router
            await asyncio.sleep(pause)
        if connection is not None:
            connection.close()

    async def open(self, rate: float) -> None:
        under_way: set[asyncio.Task[None]] = set()
        start, number = time.monotonic(), 0
        while not self.ending:
            number += 1
            method = "POST" if number * self.posts % 1 < self.posts else "GET"
            task = asyncio.create_task(self._once(method, number % len(self.routers)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        while under_way:
            await asyncio.wait(under_way)

    async def _once(self, method: str, router: int) -> None:
        _, connection = await self._one("open", method, router, None)
        if connection is not None:
            connection.close()

    async def _one(
        self, loop: str, method: str, router: int, connection: Connection | None
    ) -> tuple[Record, Connection | None]:
        """The record of one request, and the connection if it can be used again."""
        record = Record(loop, method, time.monotonic(), router)
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._either(record, connection)
        except (OSError, ValueError, KeyError, HungUp, asyncio.IncompleteReadError) as error:
            record.error = record.error or f"{type(error).__name__}: {error}"
            connection = None
        record.end = time.monotonic()
        self.out.write(json.dumps(asdict(record)) + "\n")
        self.out.flush()
        return record, connection

    async def _either(self, record: Record, connection: Connection | None) -> Connection:
        try:
            return await self._ask(record, connection)
        except (ConnectionRefusedError, HungUp) as error:
            if len(self.routers) == 1 or (record.method == "POST" and isinstance(error, HungUp)):
                raise
            record.elsewhere = f"{type(error).__name__}: {error}"
            record.router = 1 - record.router
        return await self._ask(record, None)

    async def _ask(self, record: Record, connection: Connection | None) -> Connection:
        if connection is None:
            connection = Connection(*await asyncio.open_connection(*self.routers[record.router]))
        self._number += 1
        body = os.urandom(10_000) if record.method == "POST" else b""
        path = record.loop if record.loop == SLOW else "/path"
        record.status, answer = await connection.ask(self._request(record.method, path, body))
        record.answer = json.loads(answer) if record.status == 200 else {"text": answer[:200].decode(errors="replace")}
        if record.worked and (record.answer["got"], record.answer["sum"]) != (len(body), zlib.crc32(body)):
            record.error = "the app got another body than was sent"
        return connection

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        head = f"{method} {path}?n={self._number} HTTP/1.1\r\nHost: {self.host}\r\n".encode()
        if not body:
            return head + b"\r\n"
        if self._number % 2:
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        half = len(body) // 2
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


class Running:
    """The load as a process; the harness's side."""

    def __init__(self, directory: Path, host: str, routers: list[str], *options: str) -> None:
        self.out = directory / "load.jsonl"
        command = [sys.executable, "-m", "tests.e2e.load", host, ",".join(routers), str(self.out), *options]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL)

    def until_asked(self, more: int) -> None:
        """Until so many requests more are over."""
        enough = self._over() + more
        until(lambda: self._over() >= enough, f"{more} requests more are over")

    def _over(self) -> int:
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def end(self) -> list[Record]:
        """Send no more, wait for what is under way; the records, by time."""
        self.process.terminate()
        assert self.process.wait(2 * PATIENCE) == 0
        records = [Record(**json.loads(line)) for line in self.out.read_text().splitlines()]
        return sorted(records, key=lambda record: record.start)

    def drop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


async def main(arguments: argparse.Namespace) -> None:
    routers = [(host, int(port)) for host, _, port in (each.rpartition(":") for each in arguments.routers.split(","))]
    with arguments.out.open("w") as out:
        load = Load(arguments.host, routers, arguments.posts, out)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.end)
        loops = [load.closed(arguments.pause) for _ in range(arguments.clients)]
        loops += [load.closed(arguments.pause, SLOW) for _ in range(arguments.slow)]
        await asyncio.gather(*loops, load.open(arguments.rate))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("routers")
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.02)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--posts", type=float, default=0.2)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parsed()))
