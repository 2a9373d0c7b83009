"""Wrong credentials are answered ever later to the address that they come from.

Note [What slowness is worth]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The right secret passes at once, also from an address that everybody behind a proxy or a gateway shares with a guesser;
so an answer that does not come tells as much as one that says no. What the delay takes from a guesser are connections,
of which one address has few. A long random secret does the rest. Nothing but a timer waits meanwhile.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from deployd.errors import Busy

FIRST = 0.25
"""Seconds of the first delay; each further one is twice as long."""
FORGOTTEN = 60.0
"""Seconds without a wrong guess after which an address begins anew."""
MAX_ADDRESSES = 4096
WAITING_OF_ONE = 32


@frozen
class _Guesser:
    count: int
    last: float


class Guesses:
    """``longest``: seconds that an answer is put off at most; ``most``: so many answers are put off at once."""

    def __init__(self, clock: IReactorTime, longest: float, most: int) -> None:
        self._clock = clock
        self._longest = longest
        self._most = most
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()
        self._waiting: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many addresses are known."""
        return len(self._guessers)

    @property
    def waiting(self) -> int:
        """How many answers are put off at the moment."""
        return self._waiting.total()

    async def put_off(self, host: str) -> None:
        """Return when what came from ``host`` may be refused; may be cancelled. Raise Busy when too many wait."""
        place = _place(host)
        delay = self._delay(place)
        if self._waiting[place] >= WAITING_OF_ONE or self.waiting >= self._most:
            raise Busy("too many wrong secrets are being tried; try again in a moment")
        self._waiting[place] += 1
        try:
            await deferLater(self._clock, delay)
        finally:
            self._waiting[place] -= 1
            self._waiting += Counter()

    def _delay(self, place: str) -> float:
        now = self._clock.seconds()
        before = self._guessers.pop(place, None)
        count = before.count + 1 if before is not None and now - before.last < FORGOTTEN else 1
        self._guessers[place] = _Guesser(count, now)
        if len(self._guessers) > MAX_ADDRESSES:
            self._guessers.popitem(last=False)
        return min(self._longest, FIRST * 2.0 ** min(count - 1, 20))


def _place(host: str) -> str:
    """Where ``host`` is: of IPv6 the network of 64 bits, all of which one machine may use."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
