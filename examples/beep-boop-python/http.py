"""The face of beep boop: passes every request on to a `say` of the same release."""

import json
import os
import socket
import socketserver

# Python's own http package cannot be used here: this file has its name.


def get(host, port, path):
    """The body of http://HOST:PORT/PATH."""
    with socket.create_connection((host, port), timeout=15) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    status = head.split()[1:2]
    if status != [b"200"]:
        raise OSError(f"{host}:{port}{path} answered {head[:100]!r}")
    return body


def say():
    """Host and port of a `say` of this release, from the registry; it waits until there is one."""
    address, _, path = os.environ["DEPLOYD_PEERS_URL"].removeprefix("http://").partition("/")
    host, _, port = address.rpartition(":")
    peers = json.loads(get(host, int(port), f"/{path}&role=say&wait=10"))
    peer = peers[os.environ["COMMIT"]]["say"][0]
    return peer["host"], peer["port"]


class Http(socketserver.StreamRequestHandler):
    timeout = 10  # seconds that a client may take

    def handle(self):
        words = self.rfile.readline(4096).decode("latin-1").split()
        while self.rfile.readline(4096).strip():
            pass  # the other lines of the request's head
        if len(words) < 2:
            return  # whoever only looks whether this listens
        try:
            status, answer = "200 OK", get(*say(), words[1])
        except (OSError, ValueError, KeyError) as error:
            status, answer = "502 Bad Gateway", f"nobody to say it: {type(error).__name__}\n".encode()
        self.wfile.write(f"HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n".encode() + answer)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Server((os.environ["HOST"], int(os.environ["PORT"])), Http).serve_forever()
