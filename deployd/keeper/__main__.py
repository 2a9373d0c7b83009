"""The main of the keeper: ``python -m deployd.keeper STATE_DIR [BYTES_OF_AN_APP'S_LOGS BYTES_OF_ALL]``.

The drone starts it when there is none. It ends when the drone says so, or when it holds nothing and no drone has come
for a minute. Whoever signals it by mistake does not end the apps: SIGINT and SIGHUP do nothing, SIGTERM only ends a
keeper of which nothing runs.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
LOG_BYTES = 1_000_000


def main(argv: list[str]) -> None:
    # Twisted imports it whenever it is there (Note [A daemon without pyOpenSSL]).
    sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from deployd.daemon.clock import monotonic
    from deployd.keeper.segments import Budgets
    from deployd.processes.hardening import make_undumpable
    from deployd.processes.keeping import Place

    # First, as what it may read in /proc depends on it (Note [Long paths]).
    make_undumpable()
    place = Place(Path(argv[1]).absolute())
    if not place.hold():
        return
    # Whoever starts it by hand from a shell gets one that leads its group, which has to stay in its session.
    with suppress(PermissionError):
        os.setsid()
    os.chdir("/")
    os.umask(0o022)
    # A core fills the disk, and has an app's config in it. Who wants one can still raise the soft limit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _adopt_orphans()
    globalLogBeginner.beginLoggingTo([_observer(place.log)], redirectStandardIO=False, discardBuffer=True)
    _keep(monotonic(reactor), place, Budgets(*map(int, argv[2:4])))
    # Threads that still wait for a disk may not keep it.
    os._exit(0)


def _keep(reactor: Any, place: Any, budgets: Any) -> None:
    from twisted.logger import Logger

    from deployd.keeper.reaping import Reaper
    from deployd.keeper.relay import Relay
    from deployd.keeper.responders import Sessions
    from deployd.keeper.segments import Segments
    from deployd.keeper.service import Keeper, Tools
    from deployd.keeper.signals import Signals
    from deployd.keeper.stamps import Stamps
    from deployd.processes.spawning import Spawner

    log = Logger("deployd.keeper")
    opening = Lock()

    def say(words: str) -> None:
        reactor.callFromThread(log.warn, "{words}", words=words)

    segments = Segments(place.logs, budgets, opening, say)
    relay = Relay(segments, Stamps(place.stamp, segments.load()), say)
    reaper = Reaper(reactor)
    spawner = Spawner(reaper.expect, opening, _raised())
    keeper = Keeper(Tools(reactor, spawner.spawn, relay), reactor.stop)

    def terminated() -> None:
        if keeper.running:
            log.warn("SIGTERM is ignored: {running} processes run", running=keeper.running)
        else:
            reactor.stop()

    signals = Signals(reactor, {signal.SIGCHLD: reaper.reap, signal.SIGTERM: terminated})
    signals.begin()
    relay.start()
    reactor.listenUNIX(place.socket, Sessions(reactor, keeper), mode=0o600)
    log.info("keeping, pid {pid}", pid=os.getpid())
    reactor.run(installSignalHandlers=False)
    relay.close()


def _observer(path: Path) -> Any:
    from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, textFileLogObserver
    from twisted.python.logfile import LogFile

    file: Any = LogFile.fromFullPath(str(path), rotateLength=LOG_BYTES, maxRotatedFiles=1, defaultMode=0o600)
    quiet = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    # AMP tells of every connection.
    quiet.setLogLevelForNamespace("twisted.protocols.amp", LogLevel.warn)
    return FilteringLogObserver(textFileLogObserver(file), [quiet])


def _raised() -> int | None:
    """Take as many open files as there may be; the soft limit that was, for the apps."""
    from deployd.daemon.sockets import raise_file_limit

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit()
    return soft if soft != resource.getrlimit(resource.RLIMIT_NOFILE)[0] else None


def _adopt_orphans() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the parent of orphans")


if __name__ == "__main__":
    main(sys.argv)
