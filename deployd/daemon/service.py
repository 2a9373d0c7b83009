"""The top service of a daemon: holds the state directory, listens, and fails in one line."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from deployd.daemon.logs import observer
from deployd.daemon.options import DaemonOptions
from deployd.daemon.sockets import raise_file_limit, with_backlog
from deployd.daemon.state import StateDirectory
from deployd.errors import DeploydError, Refused
from deployd.net.addresses import tcp_listener

# A port that is free for TCP may be taken for UDP.
_FREE_PORTS = 20


class DaemonService(MultiService):
    """Subclasses override ``begin``; what they start there is stopped in reverse order.

    Note [Failing in one line]
    ~~~~~~~~~~~~~~~~~~~~~~~~~~
    twistd shows a traceback for an exception in startService and ends with 0 whatever happens later. So a refusal at
    the start is the sentence on stderr and a SystemExit under ``-n``. In the background it is the error itself, which
    twistd hands to the waiting parent process; that one would wait for ever for a child that just exits. And one
    that comes later (a hub that refuses the secret) goes through ``fail``: sentence, orderly stop, exit 1.
    """

    _log = Logger()

    def __init__(self, reactor: Any, options: DaemonOptions) -> None:
        super().__init__()
        self.reactor = reactor
        self.options = options
        self.state = StateDirectory(options.state_dir)
        self._ports: list[IListeningPort] = []

    def begin(self) -> None:
        """Start the daemon; the state directory is held. Raise DeploydError or OSError to refuse."""

    def setServiceParent(self, parent: Any) -> None:
        # Only twistd gives an Application as parent; `twist` has log options of its own.
        if hasattr(parent, "setComponent"):
            parent.setComponent(ILogObserver, observer(self.options))
            self.reactor.addSystemEventTrigger("before", "shutdown", _be_deaf)
        super().setServiceParent(parent)

    def startService(self) -> None:
        try:
            self.state.hold()
            if self.options.is_open:
                self._log.warn("no secret: everybody who reaches {host} may do everything", host="this machine")
            self.begin()
        except (DeploydError, OSError) as error:
            self._say(error)
            if self._in_background():
                raise
            raise SystemExit(1) from None
        super().startService()

    def stopService(self) -> Deferred[Any]:
        self.state.withdraw_addresses()
        closing = [self.stop_listening(), maybeDeferred(super().stopService)]
        done: Deferred[Any] = DeferredList(closing, consumeErrors=True)
        return done.addBoth(lambda _: self.state.release())

    def stop_listening(self) -> Deferred[Any]:
        """Take no new connections; those that are open stay."""
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)

    def listen(self, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
        """Listen now; raise Refused with one sentence when that cannot be."""
        raise_file_limit()
        try:
            listening = serverFromString(self.reactor, with_backlog(endpoint)).listen(factory)
        except Exception as error:  # endpoint parsers raise whatever their plugins do
            raise Refused(f"cannot listen on {_kind(endpoint)}: {error}") from error
        results: list[Any] = []
        listening.addBoth(results.append)
        result = results[0] if results else Failure(Refused("the endpoint does not listen at once"))
        if isinstance(result, Failure):
            raise Refused(f"cannot listen on {_kind(endpoint)}: {_why(result.value)}")
        self._ports.append(result)
        return result  # type: ignore[no-any-return]

    def listen_with_datagrams(
        self, port: int, interface: str, factory: IProtocolFactory, datagrams: DatagramProtocol
    ) -> IListeningPort:
        """Listen now on the same port of TCP and UDP; raise Refused."""
        for _ in range(1 if port else _FREE_PORTS):
            listening = self.listen(tcp_listener(port, interface), factory)
            number = listening.getHost().port  # type: ignore[attr-defined]
            try:
                packets = self.reactor.listenUDP(number, datagrams, interface)
            except CannotListenError as error:
                problem = error
                self._ports.remove(listening)
                maybeDeferred(listening.stopListening)
                continue
            # At Twisted's 256 KB a flood of small packets would be answered for a second before anything else is.
            packets.maxThroughput = 512
            self._ports.append(packets)
            return listening
        raise Refused(f"cannot listen on udp:{port}: {_why(problem)}")

    @staticmethod
    def hold(ports: list[IListeningPort]) -> None:
        """Let who connects wait until the daemon can answer."""
        for port in ports:
            stop: Any = getattr(port, "stopReading", None)
            if stop is not None:
                stop()

    @staticmethod
    def answer(ports: list[IListeningPort]) -> None:
        """Answer those who wait."""
        for port in ports:
            start: Any = getattr(port, "startReading", None)
            if start is not None:
                start()

    def fail(self, error: DeploydError) -> None:
        """End the daemon with exit code 1 and one line (Note [Failing in one line])."""
        self._say(error)
        atexit.register(_exit_with_failure)
        self.reactor.stop()

    def _in_background(self) -> bool:
        """Whether twistd's first process waits to hear how the start went."""
        twistd: Any = self.options.parent
        return twistd is not None and twistd.get("statusPipe") is not None

    def _say(self, error: Exception) -> None:
        line = f"deployd-{self.options.kind}: {_sentence(error, self.state.path)}"
        self._log.error("{line}", line=line)
        # Not sys.stderr, which twistd has turned into a log by now.
        if sys.__stderr__ is not None:
            print(line, file=sys.__stderr__, flush=True)


def _sentence(error: Exception, place: Path) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"cannot use {error.filename or f'the state directory {place}'}: {(error.strerror or str(error)).lower()}"


def _be_deaf() -> None:
    # It ends already; the reactor would take a second signal for a failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _kind(endpoint: str) -> str:
    """An endpoint string without what may name key files."""
    return ":".join(endpoint.split(":")[:2])


def _why(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        return (error.socketError.strerror or str(error.socketError)).lower()
    return str(error)
