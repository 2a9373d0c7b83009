"""A route: which requests go to which releases of an app, and how that came about."""

from __future__ import annotations

import re

from attrs import field, frozen

from deployd.model.invalid import Invalid
from deployd.model.names import shown

MAX_HISTORY = 100
MAX_WEIGHT = 1_000_000
ANY_HOST = "*"
WILDCARD = "*."

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,254}")


@frozen(order=True)
class RouteKey:
    """Which requests: ``host`` is a name in lower case, ``*.`` and a name, or ``*``; ``path`` is a prefix of paths."""

    host: str
    path: str = "/"

    def __str__(self) -> str:
        return self.host if self.path == "/" else self.host + self.path


@frozen
class Share:
    """Of every sum-of-all-weights requests, ``weight`` go to ``release`` (``v12``); with 0 only those that name it."""

    release: str
    weight: int


@frozen
class Setting:
    """What a route does. ``shares`` are of releases of ``app``, each once; targets are its instances in ``role``.

    ``preview``: any commit of the app can be asked for by name. ``sticky``: a client stays with its release as long as
    that has weight. ``https``: plain HTTP is answered with a redirect.
    """

    app: str
    role: str
    shares: tuple[Share, ...]
    preview: bool = False
    sticky: bool = False
    https: bool = False

    @property
    def weighted(self) -> tuple[str, ...]:
        """The releases that get requests, in the order of ``shares``."""
        return tuple(share.release for share in self.shares if share.weight > 0)


@frozen
class Entry:
    """One line of a route's history. ``number`` grows by one; ``back_to`` is the entry that a rollback put back, or 0.

    ``what`` says how it came about (``set rollback promote abort``); ``when`` is in seconds since 1970.
    """

    number: int
    setting: Setting
    when: float
    who: str
    what: str = "set"
    back_to: int = 0


@frozen
class Promotion:
    """A release on its way to all requests of a route: ``step`` counts the ``steps`` (percents) that it has made.

    ``base`` is the setting before it, to which an abort returns. ``every`` is the seconds between two steps; with
    ``paused`` no step is made.
    """

    release: str
    steps: tuple[int, ...]
    every: float
    step: int
    base: Setting
    paused: bool = False


@frozen
class Route:
    """``entries`` are its settings, oldest first, the last one in force; the oldest of more than MAX_HISTORY go."""

    key: RouteKey
    entries: tuple[Entry, ...]
    promotion: Promotion | None = None

    @property
    def setting(self) -> Setting:
        return self.entries[-1].setting

    @property
    def number(self) -> int:
        return self.entries[-1].number


@frozen
class RouteLine:
    """What a router is told of a route."""

    key: RouteKey
    setting: Setting


@frozen
class Tally:
    """What routers have counted of the requests of one route to one release, since they were started.

    ``errors`` were answered 5xx, by the app or for it; ``seconds`` is the sum of the times until the answer's head, and
    ``slow`` counts them by upper bounds (LATENCIES, and one more for what was slower).
    """

    key: RouteKey
    release: str
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    slow: tuple[int, ...] = field(default=())
    # By the first digit of the status, 1 to 5.
    classes: tuple[int, ...] = field(default=())


LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def route_host(text: str) -> str:
    """``text`` as the host of a route, in lower case; raise Invalid."""
    host = text.lower().rstrip(".")
    name = host.removeprefix(WILDCARD)
    if host != ANY_HOST and (len(host) > 253 or not _HOST.fullmatch(name)):
        raise Invalid(f"{shown(text)} is not a host: write a name like shop.example, *.shop.example, or * for any")
    return host


def route_path(text: str) -> str:
    """``text`` as the path of a route, without a slash at its end; raise Invalid."""
    path = text.rstrip("/") or "/"
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise Invalid(f"{shown(text)} is not a path: write one like /api")
    return path
