"""The keeper as a process and a socket: where the drone finds it, and how it starts one."""

from __future__ import annotations

import os
import sys
from errno import ECONNREFUSED, ENOENT
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.errors import DeploydError, Refused
from deployd.net.peer import Peer
from deployd.processes.keeping import Place

# What the keeper keeps of the environment; the secret is none of its business.
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR")


class NoKeeper(DeploydError):
    """Nobody listens on the keeper's socket."""


class KeeperProcess:
    """``budgets``: bytes of one app's logs, and of all. They are a new keeper's; one that runs keeps its own."""

    def __init__(self, reactor: Any, directory: Path, budgets: tuple[int, int] | None = None) -> None:
        self._reactor = reactor
        self._directory = directory
        self._budgets = budgets or ()
        self._place: Place | None = None
        self._process: _Process | None = None

    def connect(self, peer: Peer) -> Deferred[Peer]:
        """``peer``, connected; fails with NoKeeper where there is none, else with what is wrong."""
        factory: Factory[Any] = Factory.forProtocol(lambda: peer)
        factory.noisy = False
        endpoint = UNIXClientEndpoint(self._reactor, self._found().socket, timeout=5)
        connecting: Deferred[Peer] = endpoint.connect(factory)
        return connecting.addErrback(_explained)

    def launch(self) -> None:
        """Start a keeper, unless one that was started is still on its way. Raise Refused with one sentence."""
        if self.starting:
            return
        words = [sys.executable, "-m", "deployd.keeper", str(self._directory), *map(str, self._budgets)]
        variables = {name: os.environ[name] for name in KEPT if name in os.environ}
        process = _Process()
        try:
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            log = os.open(self._found().log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                # Without uid, gid and path Twisted need not fork, which a large drone would wait for.
                fds = {0: nothing, 1: log, 2: log}
                self._reactor.spawnProcess(process, words[0], words, variables, childFDs=fds)
            finally:
                os.close(nothing)
                os.close(log)
        except OSError as error:
            raise Refused(f"the keeper cannot be started: {error.strerror or error}") from None
        self._process = process

    @property
    def starting(self) -> bool:
        """Whether one that was started here has not ended, as far as is known."""
        return self._process is not None and self._process.runs

    def _found(self) -> Place:
        if self._place is None:
            self._place = Place(self._directory)
        return self._place


class _Process(ProcessProtocol):
    _log = Logger()

    def __init__(self) -> None:
        self.runs = True

    def processExited(self, reason: Failure) -> None:
        self.runs = False
        code = getattr(reason.value, "exitCode", 0)
        if code:
            self._log.error("the keeper has ended with code {code}: see keeper.log in the state directory", code=code)


def _explained(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(error, ConnectError) and error.osError in (ECONNREFUSED, ENOENT):
        raise NoKeeper() from None
    return failure
