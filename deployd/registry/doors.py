"""What the registry asks of those who come: the secret, an authorized key, or nothing; and its own key, for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import Logger
from twisted.web.resource import Resource

from deployd.daemon.threads import Threads
from deployd.errors import Refused
from deployd.model.grant import key_text
from deployd.net.identity import Identity
from deployd.net.server import Conversations
from deployd.registry.admission import Admission, AdmittingSite
from deployd.registry.grants import Grants
from deployd.registry.guests import conversations
from deployd.registry.options import RegistryOptions
from deployd.registry.responders import ANONYMOUS
from deployd.registry.service import Registry


class Doors(MultiService):
    """``open`` comes before anybody does."""

    _log = Logger()

    def __init__(self, reactor: Any, options: RegistryOptions) -> None:
        super().__init__()
        self._reactor = reactor
        self._options = options
        self.identity: Identity | None = None
        self.grants: Grants | None = None
        if options.authorized_keys is not None:
            # One, of its own: a directory that hangs (it is on another machine) should hold up nothing else.
            self._reading = Threads(reactor, "keys", 1)
            self.grants = Grants(reactor, self._reading.run, options.authorized_keys)
            self.grants.setServiceParent(self)

    def open(self, state: Path) -> None:
        """Raise Refused or OSError."""
        path = state / "identity"
        try:
            self.identity = Identity.load(path)
        except ValueError:
            raise Refused(f"{path} is not an identity; delete it to make a new one") from None
        self._log.info("the key of this registry is {key}", key=self.key)
        if self.grants is not None:
            self.grants.load()
            self._reading.start()

    @property
    def key(self) -> str:
        """This registry's public key, as a client may be given it."""
        return key_text(self.identity.key) if self.identity else ""

    @property
    def private(self) -> bool:
        return bool(self._options["private"])

    @property
    def facts(self) -> dict[str, str]:
        """What clients are told of it in the handshake."""
        return {"private": "yes"} if self.private else {}

    @property
    def anonymous(self) -> frozenset[str]:
        """Which sessions need nothing."""
        return frozenset() if self.private else ANONYMOUS

    @property
    def authorized(self) -> Callable[[bytes], bool] | None:
        """Which keys may go without the secret."""
        return self.grants.authorizes if self.grants is not None else None

    def conversations(self, registry: Registry) -> Conversations:
        return conversations(registry, self.grants)

    def site(self, resource: Resource) -> AdmittingSite:
        return AdmittingSite(Admission(self.private, self._options.secret), resource, self._reactor)
