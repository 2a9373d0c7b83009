"""The app that is deployed under load: HTTP/1.1 with keep-alive, and at its end it owes nobody an answer.

It is run by a bare ``python3 -S -E``. Every answer says which release and process gave it, and what it got. With
``chain`` as argument it asks a ``say`` of its own release for each request, as the walk-through's app does; with
``quick`` it takes no time. ``/slow`` takes SLOW seconds.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
import zlib

SELF = {"release": os.environ["RELEASE"], "commit": os.environ["COMMIT"], "id": os.environ["PROCESS_ID"]}
LOOKUPS = 2
SLOW = 1.5


class Ending(Exception):
    pass


def end(*_: object) -> None:
    raise Ending


class Gone(Exception):
    """The other side closed where it may."""


class App:
    def __init__(self, chain: bool) -> None:
        self.chain = chain
        self.ending = False
        self.idle: set[socket.socket] = set()
        self.lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        try:
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self.converse, args=(connection,)).start()
        except Ending:
            self.finish(listener)

    def finish(self, listener: socket.socket) -> None:
        """No new connections, but for those that wait already."""
        listener.setblocking(False)
        try:
            while True:
                connection, _ = listener.accept()
                connection.setblocking(True)
                threading.Thread(target=self.converse, args=(connection,)).start()
        except BlockingIOError:
            listener.close()
        with self.lock:
            self.ending = True
            for connection in self.idle:
                # What has arrived is still read and answered.
                connection.shutdown(socket.SHUT_RD)

    def converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while self.answer(connection, stream):
                    pass
            except (OSError, Gone):
                pass

    def answer(self, connection: socket.socket, stream: object) -> bool:
        with self.lock:
            self.idle.add(connection)
            if self.ending:
                connection.shutdown(socket.SHUT_RD)
        try:
            first = stream.readline()
        finally:
            with self.lock:
                self.idle.discard(connection)
        if not first:
            return False
        got = body(stream, headers(stream))
        answer = SELF | {"got": len(got), "sum": zlib.crc32(got)}
        if first.startswith(b"GET /slow"):
            select.select([], [], [], SLOW)
        elif "quick" not in sys.argv:
            select.select([], [], [], 0.005 + os.urandom(1)[0] / 10000)
        if self.chain:
            answer["said"] = said()["release"]
        text = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        if self.ending:
            head += "Connection: close\r\n"
        connection.sendall(head.encode() + b"\r\n" + text)
        return not self.ending


def headers(stream: object) -> dict:
    found = {}
    while True:
        line = stream.readline()
        if not line:
            raise Gone
        if line == b"\r\n":
            return found
        name, _, value = line.partition(b":")
        found[name.lower()] = value.strip()


def body(stream: object, fields: dict) -> bytes:
    if fields.get(b"transfer-encoding") != b"chunked":
        return exactly(stream, int(fields.get(b"content-length", 0)))
    parts = []
    while size := int(stream.readline().partition(b";")[0] or b"0", 16):
        parts.append(exactly(stream, size))
        stream.readline()
    headers(stream)
    return b"".join(parts)


def exactly(stream: object, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Gone
    return data


def said() -> dict:
    """What a say of this release answers; looked up anew when the one looked up first has gone meanwhile."""
    for lookup in range(LOOKUPS):
        url = os.environ["DEPLOYD_PEERS_URL"] + "&role=say&wait=10"
        place, _, path = url.removeprefix("http://").partition("/")
        host, _, port = place.rpartition(":")
        peers = ask(host, int(port), "/" + path)[os.environ["COMMIT"]]["say"]
        peer = peers[os.urandom(1)[0] % len(peers)]
        try:
            return ask(peer["host"], peer["port"], "/")
        except ConnectionRefusedError:
            if lookup + 1 == LOOKUPS:
                raise
    raise AssertionError


def ask(host: str, port: int, path: str) -> dict:
    with socket.create_connection((host, port), 15) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as stream:
            if b" 200 " not in stream.readline():
                raise OSError(f"{path} is refused")
            return json.loads(body(stream, headers(stream)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    place = (os.environ["HOST"], int(os.environ["PORT"]))
    App("chain" in sys.argv).serve(socket.create_server(place, backlog=128))
