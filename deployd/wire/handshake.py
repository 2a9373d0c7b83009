"""The first words of every conversation, and the words that keep it alive.

Client and server agree on a protocol version, then prove to each other that they know the secret (docs/protocol has
the message authentication in full). Nothing else is answered before.
"""

from __future__ import annotations

from twisted.protocols import amp

from deployd.errors import IncompatibleVersion, SecretRefused
from deployd.wire.command import declared
from deployd.wire.documents import Json

OLDEST_VERSION, NEWEST_VERSION = 1, 2
OLDEST_VERSIONS = {"deploy": 2, "drone": 2}
"""By purpose, where it is another one: since version 2 releases have builds, configs and release commands, which an
older drone would let pass, and a release command it would run again and again."""


class Hello(amp.Command):
    """Client to server, first of all: which versions it speaks, what the session is for, and a nonce.

    The answer says which version to speak, what the server is, whether it has a secret, and its own nonce.
    """

    arguments = [
        (b"oldest", amp.Integer()),
        (b"newest", amp.Integer()),
        (b"program", amp.Unicode()),
        (b"purpose", amp.Unicode()),
        (b"nonce", amp.String()),
    ]
    response = [
        (b"version", amp.Integer()),
        (b"kind", amp.Unicode()),
        (b"secret", amp.Boolean()),
        (b"nonce", amp.String()),
    ]
    errors = declared(IncompatibleVersion)


class Prove(amp.Command):
    """Client to server, second: proof of the secret, and of the owner's key where the session has an owner.

    ``proof`` is empty for an anonymous session. The answer proves the secret in turn and names the server's other
    addresses (``{"http": "HOST:PORT", ...}``). Both ends then ping after ``heartbeat`` seconds of silence and give the
    other up after ``timeout``.
    """

    arguments = [
        (b"proof", amp.String()),
        (b"owner", amp.Unicode()),
        (b"key", amp.String()),
        (b"signature", amp.String()),
    ]
    response = [
        (b"proof", amp.String()),
        (b"facts", Json()),
        (b"heartbeat", amp.Float()),
        (b"timeout", amp.Float()),
    ]
    errors = declared(SecretRefused)


class Ping(amp.Command):
    """Either side, when it has heard nothing for a heartbeat."""

    errors = declared()
