"""An app that writes down what it gets, byte for byte, and answers by path as no app should."""

import os
import socket
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\n"
ANSWERS = {
    b"/die": b"",
    b"/garbage": b"SSH-2.0-beep_boop\r\n",
    b"/half-a-head": b"HTTP/1.1 200 OK\r\nContent-Le",
    b"/bad-length": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nfine\n",
    b"/two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 3\r\n\r\nfine\n",
    b"/both-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nfine\n",
    b"/folded": b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 5\r\n\r\nfine\n",
    b"/huge-head": b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 2_000_000 + b"\r\nContent-Length: 5\r\n\r\nfine\n",
    b"/torn": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfine\n",
    b"/torn-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfine\n\r\n",
    b"/bad-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfine\n\r\nxyz\r\n",
    b"/two-answers": ANSWER + ANSWER.replace(b"fine", b"evil"),
    b"/switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


def converse(connection: socket.socket) -> None:
    with connection:
        while request := connection.recv(1_000_000):
            print(repr(request), flush=True)
            path = request.split(b" ")[1].partition(b"?")[0] if request.count(b" ") > 1 else b""
            if path == b"/hang":
                connection.recv(1)
            if path in ANSWERS:
                connection.sendall(ANSWERS[path])
                return
            if request.startswith(b"POST") and b"\r\n0\r\n" not in request and not request.endswith(b"end"):
                # The end of the body comes.
                continue
            connection.sendall(ANSWER)


with socket.create_server((os.environ["HOST"], int(os.environ["PORT"]))) as listener:
    while True:
        threading.Thread(target=converse, args=listener.accept()[:1], daemon=True).start()
