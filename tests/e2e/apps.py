"""Small apps that the end-to-end tests deploy; Python without site-packages, so that they start fast."""

from __future__ import annotations

SERVER = """
import os, signal, socket, sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    with connection:
        request = connection.recv(65536)
        if not request:
            continue  # someone only looks whether we listen
        body = ANSWER.encode()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""


def answering(expression: str) -> str:
    """A server that answers every request with the value of a Python expression."""
    return SERVER.replace("ANSWER", f"str({expression})")


HELLO = answering('"hello"')
SAY_AND_HTTP = {
    "say.py": answering(
        'request.split()[1].decode().strip("/").upper() + " ALL HUMANS" if b"/" != request.split()[1] else "beep boop"'
    ),
    "web.py": """
import json, os, signal, socket, sys
from urllib.request import urlopen

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def say(path):
    with urlopen(os.environ["DEPLOYD_PEERS_URL"] + "&role=say&wait=10") as answer:
        peer = json.load(answer)[os.environ["COMMIT"]]["say"][0]
    with urlopen("http://%s:%d%s" % (peer["host"], peer["port"], path)) as answer:
        return answer.read()


listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    with connection:
        request = connection.recv(65536)
        if not request:
            continue
        body = say(request.split()[1].decode())
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
""",
}
