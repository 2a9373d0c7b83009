"""Which registry the router reads, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.application.service import MultiService
from twisted.logger import Logger

from deployd.client.watching import RowWatcher
from deployd.errors import DeploydError
from deployd.model.address import reachable_text
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.client import Dial


class RowReader(Protocol):
    """What takes the rows: the router."""

    def reset_rows(self, rows: tuple[Registration, ...], revision: Revision, same_epoch: bool) -> None: ...

    def change_rows(self, put: tuple[Registration, ...], gone: tuple[str, ...], revision: Revision) -> None: ...

    def registry_lost(self) -> None:
        """It is not heard at the moment."""


class RegistryLink(MultiService):
    """``dial`` makes what reaches an address; ``met`` is called before a registry's rows are read."""

    _log = Logger()

    def __init__(self, dial: Callable[[str], Dial], reader: RowReader, met: Callable[[], None]) -> None:
        super().__init__()
        self.address = ""
        self._dial = dial
        self._reader = reader
        self._met = met
        self._watcher: RowWatcher | None = None
        self._said = ""

    @property
    def connected(self) -> bool:
        return self._watcher is not None and self._watcher.connected

    @property
    def http(self) -> str:
        """The registry's HTTP address, "" while unknown."""
        return self._watcher.http if self._watcher is not None else ""

    def use(self, address: str) -> None:
        """Read the registry at ``address`` from now on."""
        if address == self.address:
            return
        try:
            dial = self._dial(address)
        except DeploydError as error:
            self._failed(error)
            return
        if self._watcher is not None:
            leaving = self._watcher.disownServiceParent()
            leaving.addErrback(lambda failure: self._log.failure("while leaving a registry", failure=failure))
        self.address = address
        watcher = RowWatcher(dial=dial, reset=self._reset, changed=self._reader.change_rows, failed=self._failed)
        self._watcher = watcher
        watcher.setServiceParent(self)

    def _reset(self, rows: tuple[Registration, ...], revision: Revision, same_epoch: bool) -> None:
        self._said = ""
        self._met()
        self._reader.reset_rows(rows, revision, same_epoch)

    def _failed(self, error: DeploydError) -> None:
        self._reader.registry_lost()
        if str(error) != self._said:
            self._said = str(error)
            self._log.warn("{error}; trying on", error=error)


def seen_from_here(text: str, dialled: str) -> str:
    """The registry's address (or several) as the hub says it, where the hub was dialled as ``dialled``."""
    return reachable_text(text, dialled)
