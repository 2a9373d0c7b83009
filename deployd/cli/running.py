"""How a verb runs on the reactor: one piece of work, one deadline, then the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from deployd.cli.settings import Settings

if TYPE_CHECKING:
    from deployd.cli.cluster import Cluster

DEFAULT_TIMEOUT = 10.0
# Seconds after the deadline in which a verb that watches it itself may still say what it saw.
LAST_WORDS = 0.2

T = TypeVar("T")


def prepare(settings: Settings) -> None:
    """Before anything of Twisted is imported: leave pyOpenSSL out where no address asks for TLS.

    Twisted imports it whenever it is there, and it would be a quarter of deployctl's start.
    """
    addresses = (settings.hub, *(settings.registry or "").split(","))
    if "twisted.internet" in sys.modules or any(map(needs_tls, addresses)):
        return
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]


def needs_tls(address: str) -> bool:
    """Whether an ADDRESS may be a TLS endpoint: anything but HOST, HOST:PORT, ``tcp:`` and ``unix:``."""
    kind, colon, rest = address.partition(":")
    return bool(colon) and kind not in ("tcp", "unix") and not (rest.isdigit() or address.startswith("["))


def run(settings: Settings, work: Callable[[Cluster], Coroutine[Any, Any, T]], timeout: float = DEFAULT_TIMEOUT) -> T:
    """What ``work`` returns or raises; NoAnswer at the deadline; KeyboardInterrupt when a signal came first."""
    from twisted.internet import reactor
    from twisted.internet.defer import CancelledError, Deferred
    from twisted.logger import globalLogBeginner
    from twisted.python.failure import Failure

    from deployd.cli.cluster import Cluster
    from deployd.errors import NoAnswer

    seconds = settings.timeout or timeout
    outcome: list[Any] = []

    def late(result: Any) -> Any:
        if isinstance(result, Failure) and result.check(CancelledError):
            raise NoAnswer(f"no answer within {seconds:g} s; the daemons may be busy, --timeout gives them longer")
        return result

    def watch(cluster: Cluster, working: Deferred[Any]) -> None:
        """Until the deadline, which the work may have moved meanwhile."""
        left = cluster.remaining()
        if left:
            reactor.callLater(left + LAST_WORDS, watch, cluster, working)
        else:
            working.cancel()

    def start() -> None:
        cluster = Cluster(reactor, settings, seconds)
        working = Deferred.fromCoroutine(work(cluster))
        watch(cluster, working)
        working.addBoth(late)
        working.addBoth(outcome.append)
        working.addBoth(lambda _: reactor.stop())

    # Otherwise Twisted writes what it thinks critical to stderr, with a traceback.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    reactor.callWhenRunning(start)
    reactor.run()
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]  # type: ignore[no-any-return]
