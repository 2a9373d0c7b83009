"""An app that prints numbers, and leaves a process about that nothing but the kernel's mark tells to be its own.

Every answer says who gives it, and what was built and set for it. With ``quiet`` it has no port.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

PRINTS = 0.1


def stray() -> None:
    """A daemon: of another session, parent and directory, with nothing in its environment."""
    if os.fork():
        os.wait()
        return
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.execve("/bin/sleep", ["sleep", "100000"], {})


def count() -> None:
    number = 0
    while True:
        os.write(1, f"{os.getpid()} {number}\n".encode())
        number += 1
        select.select([], [], [], PRINTS)


def serve() -> None:
    names = {"id": "PROCESS_ID", "release": "RELEASE", "mode": "MODE"}
    said = {key: os.environ.get(name, "") for key, name in names.items()}
    answer = json.dumps(said | {"pid": os.getpid(), "built": Path("made/lock").read_text()}).encode()
    Path(os.environ["TMPDIR"], "mine").write_text(said["id"])
    listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])), backlog=128)
    while True:
        connection, _ = listener.accept()
        with connection:
            if connection.recv(65536):
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
stray()
threading.Thread(target=count, daemon=True).start()
if "quiet" in sys.argv:
    while True:
        signal.pause()
serve()
