"""Which requests a route takes, and which release each of them goes to. All of it on bytes, as requests bring them.

Note [Which route]
~~~~~~~~~~~~~~~~~~
The most specific host first: the name itself; then, if its first label is 4 to 40 hex digits and the rest is the host
of a route with ``preview``, that route (the label names a commit); then ``*.`` and the longest rest; then ``*``. Under
one host the longest path that is a prefix on segment borders. A host without a path that matches is passed over, so
``*`` also takes what ``shop.example/api`` alone leaves of ``shop.example``. Paths are compared as they were sent:
``%61`` is no ``a``.

Note [Which release]
~~~~~~~~~~~~~~~~~~~~
A commit that was asked for by name; else the release of the client's cookie, for as long as that has weight; else by
weight. The choice falls before anything is known of targets: a request for a release without one waits for it and never
goes to another, because a chain of requests must not mix releases.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from hashlib import sha256
from itertools import accumulate

from attrs import frozen

from deployd.model.route import RouteKey, Share

MIN_COMMIT = 4
MAX_COMMIT = 40
_LONGEST_HOST = 253
_HEX = frozenset(b"0123456789abcdef")


@frozen
class Split:
    """The releases with weight, and the borders between them on a line as long as all weights together."""

    releases: tuple[str, ...]
    borders: tuple[int, ...]

    @classmethod
    def of(cls, shares: tuple[Share, ...]) -> Split:
        weighted = [share for share in shares if share.weight > 0]
        borders = tuple(accumulate(share.weight for share in weighted))
        return cls(tuple(share.release for share in weighted), borders)

    def at(self, point: float) -> int:
        """Which of ``releases`` a ``point`` from 0 to below 1 falls on; there has to be one."""
        # A point just below 1 times the length may be rounded up to the length itself.
        return min(bisect_right(self.borders, point * self.borders[-1]), len(self.borders) - 1)


def wildcards(host: bytes) -> Iterator[bytes]:
    """The wildcard hosts that take ``host``, most specific first."""
    if len(host) <= _LONGEST_HOST:
        dot = host.find(b".")
        while dot != -1:
            yield b"*" + host[dot:]
            dot = host.find(b".", dot + 1)
    yield b"*"


def prefixes(path: bytes, longest: int) -> Iterator[bytes]:
    """The paths of at most ``longest`` bytes that a route may have to take ``path``, longest first; ``/`` last."""
    if len(path) > longest:
        # A border that lies right behind the longest prefix counts too.
        end = path.rfind(b"/", 0, longest + 1)
        path = path[: max(end, 0)]
    while len(path) > 1:
        yield path
        path = path[: max(path.rfind(b"/"), 0)]
    yield b"/"


def preview_name(host: bytes) -> tuple[str, bytes] | None:
    """``74336bc.shop.example`` as the commit's prefix and the host that it is asked of; None for any other host."""
    label, dot, rest = host.partition(b".")
    prefix = commit_prefix(label)
    return (prefix, rest) if dot and rest and prefix is not None else None


def commit_prefix(text: bytes) -> str | None:
    """``text`` as the beginning of a commit's name, in lower case; None if it cannot be one."""
    lower = text.lower()
    if MIN_COMMIT <= len(lower) <= MAX_COMMIT and _HEX.issuperset(lower):
        return lower.decode("ascii")
    return None


def cookie_name(key: RouteKey) -> bytes:
    """The cookie that holds a client's release on that route."""
    return b"deployd_" + sha256(f"{key.host}\0{key.path}".encode()).hexdigest()[:8].encode("ascii")


def cookie_value(cookies: bytes, name: bytes) -> bytes:
    """The first value of the cookie ``name``, or b"" if there is none."""
    if name not in cookies:
        return b""
    for pair in cookies.split(b";"):
        key, _, value = pair.partition(b"=")
        if key.strip() == name:
            return value.strip().strip(b'"')
    return b""


def set_cookie(name: bytes, key: RouteKey, release: str) -> bytes:
    """A Set-Cookie header's value that keeps a client at ``release`` until its browser is closed."""
    path = key.path
    if ";" in path:
        # It would end the attribute; the directory above is as near as a cookie can come.
        path = path[: path.rfind("/", 0, path.index(";"))] or "/"
    return b"%s=%s; Path=%s; HttpOnly; SameSite=Lax" % (name, release.encode(), path.encode())
