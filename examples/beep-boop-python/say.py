"""The voice of beep boop: answers "beep boop", or "HUG ALL HUMANS" when asked for /HUG."""

import os
import socketserver

# Python's own http package cannot be used here: the file http.py beside this one hides it.


class Say(socketserver.StreamRequestHandler):
    timeout = 10  # seconds that a client may take

    def handle(self):
        words = self.rfile.readline(4096).decode("latin-1").split()
        while self.rfile.readline(4096).strip():
            pass  # the other lines of the request's head
        if len(words) < 2:
            return  # whoever only looks whether this listens
        wish = words[1].strip("/")
        answer = f"{wish.upper()} ALL HUMANS\n" if wish else "beep boop\n"
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + answer.encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Server((os.environ["HOST"], int(os.environ["PORT"])), Say).serve_forever()
