"""An app's own environment, revision by revision; values are readable only with the hub's key."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Config:
    """Revision ``number`` of the config of ``app``; the first has number 1, and 0 stands for an empty one.

    ``names`` are its variables, sorted; ``sealed`` has them with their values (deployd.daemon.sealing), "" where there
    are none. The model holds no value in the clear, so that none can get into a log, an event, an error or a backup.
    """

    app: str
    number: int
    names: tuple[str, ...]
    sealed: str = field(repr=False)

    @property
    def key(self) -> tuple[str, int]:
        return self.app, self.number
