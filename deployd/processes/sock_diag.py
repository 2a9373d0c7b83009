"""The listening TCP sockets of the machine, asked of the kernel over netlink (sock_diag(7)).

Note [Not out of /proc/net]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
/proc/net/tcp and tcp6 give the same, but whoever reads to the end of those that listen makes the kernel walk its whole
table of connections, which takes milliseconds however few there are. A drone looks every second.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from attrs import frozen

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_LISTEN = 1 << 10

_HEAD = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI2s46x")
_ANY = b"\0\0"
# inet_diag_msg: the port and the address (both in network order), the queue, the inode.
_TOLD = struct.Struct("=4x2s2x16s32xI8xI")
_FAILURE = struct.Struct("=i")
_LARGEST = 64 * 1024
_LIMIT = 5.0


@frozen
class Found:
    """``port`` and ``address`` (4 or 16 bytes) are in network order; ``queue`` connections wait to be accepted."""

    port: bytes
    address: bytes
    inode: int
    queue: int


def listening(family: int, port: bytes = _ANY) -> Iterator[Found]:
    """Those of AF_INET or of AF_INET6, on ``port`` or all; raise OSError where the kernel does not tell."""
    size = 4 if family == socket.AF_INET else 16
    asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, _LISTEN, port)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.settimeout(_LIMIT)
        kernel.send(_HEAD.pack(_HEAD.size + len(asked), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + asked)
        while True:
            for kind, body in _messages(kernel.recv(_LARGEST)):
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    error = -_FAILURE.unpack_from(body)[0]
                    raise OSError(error, os.strerror(error))
                number, address, queue, inode = _TOLD.unpack_from(body)
                yield Found(number, address[:size], inode, queue)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        length, kind, _, _, _ = _HEAD.unpack_from(data, start)
        yield kind, data[start + _HEAD.size : start + length]
        # Each begins at a multiple of four.
        start += (length + 3) & ~3
