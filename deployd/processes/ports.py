"""TCP ports for the apps of one drone."""

from __future__ import annotations

import errno
import socket

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from deployd import errors

HELD_WHILE_RESTING = 256
"""How many resting ports keep their claim on the host: each costs the drone one file descriptor."""


@define(eq=False)
class Port:
    """One port that nobody else on this host is given; from ``Ports.allocate``, back through ``Ports.release``."""

    number: int
    claim: socket.socket | None = field(repr=False, default=None)


@define(eq=False)
class _Resting:
    number: int
    until: float
    claim: socket.socket | None

    def unclaim(self) -> None:
        if self.claim is not None:
            self.claim.close()
        self.claim = None


class Ports:
    """Gives out each port of ``first``..``last`` at most once at a time, and not again soon.

    Note [Claiming a port]
    ~~~~~~~~~~~~~~~~~~~~~~
    Between our bind test and the app's own bind the port is free for anyone. Other drones on this host are kept off by
    a second name: whoever gives out port N first binds the abstract UNIX socket ``\\0deployd-port-N`` and holds it for
    as long as the port is given out. Abstract names live in the network namespace, exactly as TCP ports do, so two
    drones that share ports share the names and two that do not, do not; and the kernel frees them when the drone dies
    in whatever way, so no stale claim can exist. Foreign programs know nothing of this; those are met by the bind test,
    and by the failure of an app that lost the race to one.

    A released port rests for ``quarantine`` seconds: somebody may still hold its address and would reach a stranger.
    It keeps its claim meanwhile, so the other drones let it rest too (the newest 256; older ones only rest here). Only
    ``preferred`` overrules this: the instance that had the port gets it back.

    ``start`` is the offset in the range of the first port tried; make it random, so that drones that start together do
    not walk in step. ``clock`` gives monotonic seconds. Call ``close`` at the end.
    """

    def __init__(
        self, first: int, last: int, clock: IReactorTime, quarantine: float = 60.0, start: int | None = None
    ) -> None:
        if not 0 < first <= last < 65536:
            raise errors.UsageError(f"{first}-{last} is not a port range: write FIRST-LAST within 1-65535")
        self._first = first
        self._size = last - first + 1
        self._clock = clock
        self._quarantine = quarantine
        self._offset = (start or 0) % self._size
        self._given: dict[int, Port] = {}
        self._resting: dict[int, _Resting] = {}
        self._claims: dict[int, _Resting] = {}
        self._wake: IDelayedCall | None = None
        self._family = _bind_family()

    def allocate(self, preferred: int | None = None, held: bool = False) -> Port:
        """Return a port that is free on all addresses, ``preferred`` if that is possible.

        ``preferred`` is the port that the same instance had before: it may be resting, and connections of the last
        process may still be in TIME_WAIT on it. ``held``: the drone's keeper has listened on it for that instance ever
        since, so it is not free, and nobody else's. Raise Refused when no port of the range is free.
        """
        self._expire()
        if preferred is not None and 0 <= preferred - self._first < self._size:
            port = self.adopt(preferred) if held else self._take(preferred, again=True)
            if port is not None:
                return port
        for step in range(self._size):
            offset = (self._offset + step) % self._size
            number = self._first + offset
            if number in self._given or number in self._resting:
                continue
            port = self._take(number, again=False)
            if port is not None:
                self._offset = (offset + 1) % self._size
                return port
        raise errors.Refused(self._exhausted())

    def adopt(self, number: int) -> Port | None:
        """Return ``number``, which an app that outlived its drone already listens on; None if it is somebody else's."""
        if number in self._given:
            return None
        rested = self._resting.get(number)
        claim = (rested.claim if rested else None) or _claim(number)
        return self._give(number, claim) if claim is not None else None

    def release(self, port: Port) -> None:
        """Let ``port`` rest, then be given out again. Doing it twice is harmless."""
        if self._given.get(port.number) is not port:
            return
        del self._given[port.number]
        self._expire()
        resting = _Resting(port.number, self._clock.seconds() + self._quarantine, port.claim)
        port.claim = None
        self._resting[port.number] = resting
        self._claims[port.number] = resting
        if len(self._claims) > HELD_WHILE_RESTING:
            self._claims.pop(next(iter(self._claims))).unclaim()
        self._schedule()

    def close(self) -> None:
        """Give up every claim and timer; the apps keep their ports for as long as they listen on them."""
        for port in self._given.values():
            if port.claim is not None:
                port.claim.close()
                port.claim = None
        for resting in self._resting.values():
            resting.unclaim()
        self._given.clear()
        self._resting.clear()
        self._claims.clear()
        self._schedule()

    def _take(self, number: int, *, again: bool) -> Port | None:
        if number in self._given:
            return None
        rested = self._resting.get(number)
        own = rested.claim if rested else None
        claim = own or _claim(number)
        if claim is None:
            return None
        bindable = False
        try:
            bindable = self._bindable(number, again=again)
        finally:
            if not bindable and claim is not own:
                claim.close()
        return self._give(number, claim) if bindable else None

    def _give(self, number: int, claim: socket.socket) -> Port:
        rested = self._resting.pop(number, None)
        self._claims.pop(number, None)
        if rested is not None:
            rested.claim = None
        port = self._given[number] = Port(number, claim)
        return port

    def _bindable(self, number: int, *, again: bool) -> bool:
        """Whether nothing has ``number`` on any address; ``again``: but for what lingers of old connections."""
        every = "::" if self._family == socket.AF_INET6 else "0.0.0.0"
        try:
            with socket.socket(self._family, socket.SOCK_STREAM) as probe:
                if again:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if self._family == socket.AF_INET6:
                    # One bind that collides with listeners of both families: apps bind 0.0.0.0 or [::] as they like.
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                probe.bind((every, number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise errors.Refused(f"port {number} cannot be tested: {error.strerror}") from None
        return True

    def _expire(self) -> None:
        """Forget the ports that have rested long enough; dicts keep the order of release."""
        now = self._clock.seconds()
        while self._resting:
            number, resting = next(iter(self._resting.items()))
            if resting.until > now:
                break
            del self._resting[number]
            self._claims.pop(number, None)
            resting.unclaim()
        self._schedule()

    def _schedule(self) -> None:
        """Wake when the oldest resting port is due: an idle drone must not keep it from the others on this host."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        if self._resting:
            oldest = next(iter(self._resting.values()))
            self._wake = self._clock.callLater(max(0.0, oldest.until - self._clock.seconds()), self._expire)

    def _exhausted(self) -> str:
        given, resting = len(self._given), len(self._resting)
        return (
            f"no free port in {self._first}-{self._first + self._size - 1}: of {self._size}, {given} are in use by "
            f"this drone, {resting} rest for up to {self._quarantine:g} s after use, "
            f"{self._size - given - resting} are taken by other programs; give the drone a wider --port-range"
        )


def _claim(number: int) -> socket.socket | None:
    try:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0deployd-port-{number}")
        except OSError:
            claim.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise errors.Refused(f"port {number} cannot be claimed: {error.strerror}") from None
    return claim


def _bind_family() -> socket.AddressFamily:
    """AF_INET6 where a socket of it can serve both families, else AF_INET."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(("::", 0))
    except OSError:
        return socket.AF_INET
    return socket.AF_INET6
