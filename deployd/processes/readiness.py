"""Waiting until an app accepts connections."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IProtocol, IReactorTCP, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from deployd import errors
from deployd.processes.probing import probe_host

FIRST_PAUSE = 0.005
LAST_PAUSE = 0.1
ATTEMPT = 1.0

Connect = Callable[[str, int], IStreamClientEndpoint]
"""The endpoint for an (IP address, port): ``by_address(reactor)``."""


def by_address(reactor: IReactorTCP) -> Connect:
    """Endpoints that say at once that a connection was refused; HostnameEndpoint takes 0.3 seconds to say so."""

    def connect(host: str, port: int) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        return kind(reactor, host, port)

    return connect


def until_listening(clock: IReactorTime, connect: Connect, host: str, port: int, deadline: float) -> Deferred[None]:
    """Fire once ``host`` (the app's HOST) accepts a connection on ``port``.

    Fails with NoAnswer, saying what the last attempt met, ``deadline`` seconds from now. Cancel it when the app ends.
    """
    return Deferred.fromCoroutine(_knock(clock, connect, probe_host(host), port, deadline))


async def _knock(clock: IReactorTime, connect: Connect, host: str, port: int, deadline: float) -> None:
    end = clock.seconds() + deadline
    pause = FIRST_PAUSE
    reason = ""
    while True:
        left = end - clock.seconds()
        met = await _attempt(clock, connect(host, port), min(ATTEMPT, max(left, FIRST_PAUSE)))
        if met is None:
            return
        # The last attempt may be too short to mean anything.
        reason = met if left >= ATTEMPT or not reason else reason
        left = end - clock.seconds()
        if left <= 0:
            raise errors.NoAnswer(f"nothing listens on port {port} of {host} after {deadline:g} s ({reason})")
        await deferLater(clock, min(pause, left))
        pause = min(pause * 1.5, LAST_PAUSE)


async def _attempt(clock: IReactorTime, endpoint: IStreamClientEndpoint, limit: float) -> str | None:
    """Why this attempt failed; None if somebody accepted."""
    factory: Factory[Protocol] = Factory.forProtocol(Protocol)
    factory.noisy = False
    attempt: Deferred[IProtocol] = endpoint.connect(factory)
    timer = clock.callLater(limit, attempt.cancel)
    try:
        protocol = await attempt
    except (CancelledError, ConnectingCancelledError):
        if not timer.active():
            return "no answer"
        raise CancelledError() from None
    except ConnectionRefusedError:
        return "connection refused"
    except TimeoutError:
        return "no answer"
    except (ConnectError, OSError) as error:
        return str(error) or type(error).__name__
    finally:
        if timer.active():
            timer.cancel()
    transport = protocol.transport  # type: ignore[attr-defined]
    # A connect to a free port of the ephemeral range can meet itself: the kernel may choose that very source port.
    alone = transport.getHost() == transport.getPeer()
    transport.loseConnection()
    return "connection refused" if alone else None
