"""Peers that misbehave: plain blocking sockets, and AMP spoken by hand on them."""

from __future__ import annotations

import secrets
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.protocols.amp import AmpBox, Command

from deployd.model.address import Address
from deployd.net.handshake import NONCE, Transcript
from deployd.net.identity import Identity
from deployd.net.secret import Secret
from deployd.wire.handshake import NEWEST_VERSION, OLDEST_VERSION, Hello, Prove

PATIENCE = 30.0
_RESET = b"\1\0\0\0\0\0\0\0"


class Stranger:
    """One connection to ``address`` (HOST:PORT) that nobody has to trust."""

    def __init__(self, address: str) -> None:
        parsed = Address.parse(address)
        self._socket = socket.create_connection((parsed.host, parsed.port), PATIENCE)
        self._unread = b""

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Whether all of ``data`` could be written; False when the server hung up meanwhile."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def send_while_taken(self, data: bytes, patience: float = 0.5) -> int:
        """Write ``data`` without ever reading, until the server has taken nothing for ``patience``; the bytes taken."""
        self._socket.settimeout(patience)
        taken = 0
        view = memoryview(data)
        try:
            while taken < len(data):
                taken += self._socket.send(view[taken : taken + 65536])
        except OSError:
            pass
        self._socket.settimeout(PATIENCE)
        return taken

    def receive(self) -> bytes:
        """What comes next; b"" at the end, however it came."""
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""

    def is_open(self) -> bool:
        """Whether the server neither said anything nor ended the connection so far."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return not readable

    def until_hung_up(self) -> bytes:
        """Everything until the server ends the connection; TimeoutError when it does not within PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        received = []
        while piece := self.receive():
            received.append(piece)
            if time.monotonic() > deadline:
                raise TimeoutError("the server goes on talking")
        return b"".join(received)

    def shut(self) -> None:
        """Say that nothing more will come; what the server says can still be read."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()


class AmpStranger(Stranger):
    """Speaks AMP, one question at a time, or as many as it likes."""

    _asked = 0

    def __enter__(self) -> AmpStranger:
        return self

    def box(self, command: type[Command], **arguments: Any) -> bytes:
        """A question as bytes."""
        self._asked += 1
        box = AmpBox(command.makeArguments(arguments, None))
        box[b"_command"] = command.commandName
        box[b"_ask"] = b"%x" % self._asked
        return bytes(box.serialize())

    def ask(self, command: type[Command], **arguments: Any) -> dict[str, Any]:
        """The answer; raise the declared error, or EOFError when the server hung up."""
        if not self.send(self.box(command, **arguments)):
            raise EOFError
        return self.answer(command)

    def answer(self, command: type[Command]) -> dict[str, Any]:
        """The next answer, which is to a question of kind ``command``."""
        box = self.read_box()
        if b"_error_code" in box:
            kind = command.reverseErrors.get(box[b"_error_code"], RuntimeError)
            raise kind(box[b"_error_description"].decode())
        return dict(command.parseResponse(box, None))

    def read_box(self) -> AmpBox:
        box = AmpBox()
        while length := int.from_bytes(self._exactly(2), "big"):
            key = self._exactly(length)
            box[key] = self._exactly(int.from_bytes(self._exactly(2), "big"))
        return box

    def log_in(self, purpose: str, secret: Secret | None, identity: Identity | None = None) -> AmpStranger:
        nonce = secrets.token_bytes(NONCE)
        hello = self.ask(
            Hello, oldest=OLDEST_VERSION, newest=NEWEST_VERSION, program="stranger", purpose=purpose, nonce=nonce
        )
        transcript = Transcript(hello["version"], hello["kind"], purpose, nonce, hello["nonce"])
        owner = identity.owner if identity else ""
        self.ask(
            Prove,
            proof=transcript.client_proof(secret, owner) if secret else b"",
            owner=owner,
            key=identity.key if identity else b"",
            signature=transcript.signature(identity) if identity else b"",
        )
        return self

    def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            piece = self.receive()
            if not piece:
                raise EOFError
            self._unread += piece
        data, self._unread = self._unread[:count], self._unread[count:]
        return data


def resident(pid: int) -> int:
    """The bytes of memory that a process has in use."""
    return _memory(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most that it ever had, or since ``forget_peak``."""
    return _memory(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{pid} has no {name}")
