"""The port of one instance."""

from __future__ import annotations

from deployd.drone.means import Means
from deployd.processes.ports import Port


class Berth:
    """Kept from one process of the instance to the next; ``number`` is the one that it had in the drone's last life.

    ``listens``: the keeper has a socket that listens on it.
    """

    def __init__(self, means: Means, id: str, number: int) -> None:
        self.listens = False
        self._means = means
        self._id = id
        # A port that an app of the last drone may still use is nobody else's.
        self.port: Port | None = means.ports.adopt(number) if number else None

    @property
    def number(self) -> int:
        return self.port.number if self.port else 0

    def take(self, socket: bool) -> Port:
        """The port that it had, if nobody has taken it since: an app must not be confused with whoever has.

        ``socket``: what is started next is given its socket.
        """
        if not socket:
            self.unlisten()
        before, self.port = self.port, None
        if before is not None:
            self._means.ports.release(before)
        self.port = self._means.ports.allocate(before.number if before else None, held=self.listens)
        return self.port

    def again(self) -> Port:
        """As ``take``, for what is started already."""
        assert self.port is not None
        return self.port

    def unlisten(self) -> None:
        """Nothing will be started there soon."""
        if self.listens:
            self.listens = False
            self._means.keeper.unlisten(self._id)

    def give_back(self) -> None:
        """Let it rest: it is never used again by this instance."""
        self.unlisten()
        if self.port is not None:
            self._means.ports.release(self.port)
