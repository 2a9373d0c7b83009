"""Beep boop in one program: $ROLE says which of the Procfile's two processes this one is."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen


def voice(path):
    """What `say` answers."""
    wish = path.strip("/")
    return f"{wish.upper()} ALL HUMANS\n" if wish else "beep boop\n"


def face(path):
    """What `http` answers: the word of a `say` of the same release, which the registry waits for."""
    with urlopen(os.environ["DEPLOYD_PEERS_URL"] + "&role=say&wait=10", timeout=15) as answer:
        peer = json.load(answer)[os.environ["COMMIT"]]["say"][0]
    with urlopen(f"http://{peer['host']}:{peer['port']}{path}", timeout=15) as answer:
        return answer.read().decode()


class BeepBoop(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, answer = 200, (face if os.environ["ROLE"] == "http" else voice)(self.path)
        except (OSError, ValueError, KeyError) as error:
            status, answer = 502, f"nobody to say it: {type(error).__name__}\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(answer.encode())


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), BeepBoop).serve_forever()
