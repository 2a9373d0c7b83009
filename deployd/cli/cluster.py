"""deployctl's connections: a line to the hub that is dialled again when it breaks, and a look at the registry."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.protocols.amp import Command

from deployd import __version__
from deployd.cli.running import needs_tls
from deployd.cli.settings import HUB_PORT, REGISTRY_PORT, Settings
from deployd.errors import (
    DeploydError,
    IncompatibleVersion,
    NoAnswer,
    SecretRefused,
    UnknownDrone,
    UnknownRoute,
    Unreachable,
)
from deployd.model.address import Address, is_several, reachable, reachable_text
from deployd.model.invalid import Invalid
from deployd.net.addresses import client_endpoints, host_of
from deployd.net.choices import Choices
from deployd.net.client import Dial, connect
from deployd.net.handshake import Credentials
from deployd.net.peer import CALL_TIMEOUT, Peer
from deployd.wire.control import AwaitChange, ForgetDrone, List, Promote, RemoveRoute, Restart, RollBack

if TYPE_CHECKING:
    from deployd.net.identity import Identity

REDIAL = 0.2
MAX_PAGES = 2000
# Seconds that one AwaitChange may take; a hub that is gone without a word is noticed after twice that at the latest.
WATCH = 5.0
# What the registry has sessions for.
OF_REGISTRY = ("read", "register")
# The share of the whole time, and at most the seconds, before the deadline that are kept for looking once more.
LAST_LOOK_SHARE = 0.05
LAST_LOOK = 0.3

# What may be asked for once only, and where to see whether it was done.
ONCE: dict[type[Command], str] = {
    Restart: "deployctl ps",
    RollBack: "deployctl route show --history",
    Promote: "deployctl route show --history",
}
# What a second asking is answered with where the first one was heard.
DONE_ALREADY: dict[type[Command], type[DeploydError]] = {ForgetDrone: UnknownDrone, RemoveRoute: UnknownRoute}

Row = dict[str, Any]
FindEndpoint = Callable[[Any, str, int], tuple[IStreamClientEndpoint | Choices, str]]


class Cluster:
    """What one run of deployctl may talk to, until ``seconds`` from now.

    ``endpoint(reactor, address, default port)`` is where an address leads, and how errors name it.
    """

    def __init__(
        self, reactor: Any, settings: Settings, seconds: float, endpoint: FindEndpoint = client_endpoints
    ) -> None:
        self.clock: Any = reactor
        self._endpoint = endpoint
        self.settings = settings
        self._end = self.clock.seconds() + seconds
        self._last_look = min(LAST_LOOK, seconds * LAST_LOOK_SHARE)
        self._hub: Peer | None = None
        self.met_hub = False

    def remaining(self) -> float:
        """Seconds until the deadline, 0 after it."""
        left: float = self._end - self.clock.seconds()
        return max(0.0, left)

    def extend(self, seconds: float) -> None:
        """The deadline is at least ``seconds`` from now."""
        self._end = max(self._end, self.clock.seconds() + seconds)

    async def pause(self, seconds: float) -> None:
        await deferLater(self.clock, min(seconds, self.remaining()))

    # The hub.

    async def hub(self) -> Peer:
        """The session with the hub; raise Unreachable, NoAnswer, SecretRefused, IncompatibleVersion."""
        if self._hub is None or self._hub.is_closed:
            self._hub = await self._dial(self.settings.hub, HUB_PORT, "deploy", "hub")
            self.met_hub = True
        return self._hub

    async def call(self, command: type[Command], patience: float = CALL_TIMEOUT, **arguments: Any) -> Row:
        """Ask the hub, and wait ``patience`` seconds for its answer.

        Where a hub that had answered goes away, ask again until the deadline. Most of deployctl's commands may be asked
        twice: they say how things should be, not what to change. Not so those of ONCE, for which Unreachable is
        raised; and what can be taken away once only is in DONE_ALREADY.
        """
        sent = False
        while True:
            try:
                hub = await self.hub()
                repeated, sent = sent, True
                return await self._ask(hub, command, arguments, min(patience, self.remaining()), repeated)
            except Unreachable:
                if sent and command in ONCE:
                    why = f"the hub went away before it answered; see `{ONCE[command]}` for what it did"
                    raise Unreachable(why) from None
                if not self.met_hub or self.remaining() <= REDIAL:
                    raise
                if self._hub is not None:
                    self._hub.transport.abortConnection()
                    self._hub = None
                await self.pause(REDIAL)

    async def _ask(
        self, hub: Peer, command: type[Command], arguments: dict[str, Any], patience: float, repeated: bool
    ) -> Row:
        try:
            answer: Row = await hub.ask(command, arguments, patience)
        except tuple(DONE_ALREADY.values()) as error:
            if repeated and isinstance(error, DONE_ALREADY.get(command, ())):
                return {}
            raise
        return answer

    async def rows(self, kind: str, app: str = "", commit: str = "", drone: str = "") -> list[Row]:
        """All rows of one kind that the hub has (wire.control.List)."""
        return (await self.listing(kind, app, commit, drone))[0]

    async def listing(self, kind: str, app: str = "", commit: str = "", drone: str = "") -> tuple[list[Row], int]:
        """``rows``, and the revision to wait from for newer ones."""
        found: list[Row] = []
        after, revision = "", 0
        for page_number in range(MAX_PAGES):
            page = await self.call(List, kind=kind, app=app, commit=commit, drone=drone, after=after)
            found += page["rows"]
            # What changes while the other pages are read must not be missed.
            revision = revision if page_number else page["revision"]
            after = page["next"]
            if not after:
                break
        return found, revision

    async def change(self, revision: int, within: float | None = None) -> bool:
        """Wait until something changed after ``revision``, or for WATCH seconds; False, at once, near the deadline.

        ``within``: the deadline is that many seconds away, if it is not nearer.
        """
        left = self.remaining() - self._last_look
        if within is not None:
            left = min(left, within)
        if left <= 0:
            return False
        wait = min(WATCH, left)
        await self.call(AwaitChange, patience=wait + WATCH, revision=revision, wait=wait)
        return True

    async def hub_fact(self, name: str) -> str:
        """An address that the hub names (``http``, ``registry``), as this machine can reach it; "" for none."""
        hub = await self.hub()
        said = hub.facts.get(name, "")
        try:
            return str(reachable(Address.parse(said), await self.hub_host()))
        except Invalid:
            return reachable_text(said, await self.hub_host()) if is_several(said) else said

    async def hub_host(self) -> str:
        """The host under which the hub was dialled."""
        return host_of(self.settings.hub) or (await self.hub()).peer_host()

    # The registry.

    async def registry(self) -> Peer:
        """A reading session with the registry: the one of ``--registry``, else the one that the hub names.

        By our own key where there is no secret: a private registry may know it.
        """
        return await self._dial(await self.registry_address(), REGISTRY_PORT, "read", "registry")

    async def registry_address(self) -> str:
        """As the person gave it, else as the hub names it."""
        return self.settings.registry or await self._registry_of_hub()

    def owner_dial(self, address: str, identity: Identity) -> Dial:
        """How an owner of rows gets to the registry."""
        return self._dial_of(address, REGISTRY_PORT, "register", identity)

    async def owner_session(self, address: str, identity: Identity) -> Peer:
        """A session that might write, for a look beforehand: it takes nothing over from any other of this owner."""
        return await self._dial(address, REGISTRY_PORT, "register", "registry", identity)

    async def _registry_of_hub(self) -> str:
        try:
            address = await self.hub_fact("registry")
        except SecretRefused as error:
            if self.settings.secret is None:
                raise SecretRefused(f"{error}; reading without it needs the registry: give --registry") from None
            raise
        if not address:
            raise Unreachable(f"the hub {self.settings.hub} names no registry; give --registry HOST:PORT")
        if needs_tls(address) and sys.modules.get("OpenSSL", self) is None:
            _start_over(address)
        return address

    def _dial_of(self, text: str, port: int, purpose: str, identity: Identity | None = None) -> Dial:
        endpoint, shown = self._endpoint(self.clock, text, port)
        settings = self.settings
        pinned = settings.registry_keys if purpose in OF_REGISTRY else ()
        if purpose == "read" and settings.secret is None:
            identity = settings.identity()
        credentials = Credentials(f"deployctl {__version__}", purpose, settings.secret, identity, pinned)
        return Dial(self.clock, endpoint, shown, credentials)

    async def _dial(self, text: str, port: int, purpose: str, kind: str, identity: Identity | None = None) -> Peer:
        dial = self._dial_of(text, port, purpose, identity)
        shown = dial.shown
        dialling: Deferred[Peer] = Deferred.fromCoroutine(connect(dial))
        dialling.addTimeout(self.remaining(), self.clock)
        try:
            return await dialling
        except IncompatibleVersion:
            # It says what to do.
            raise
        except (DeploydError, TimeoutError) as error:
            # Whatever a cancelled dial calls itself.
            if self.remaining() <= 0 or not isinstance(error, DeploydError):
                raise NoAnswer(f"the {kind} at {shown} did not answer in time; look at its log") from None
            raise type(error)(f"{error}; {_advice(error, kind, self.settings)}") from None


def _advice(error: DeploydError, kind: str, settings: Settings) -> str:
    if isinstance(error, NoAnswer):
        return f"is the {kind} busy, or something else listening there?"
    if isinstance(error, Unreachable):
        return f"start the {kind} or give --{kind} HOST:PORT"
    if isinstance(error, SecretRefused) and kind == "registry" and (settings.key or settings.registry_keys):
        return "check --key, its line in the registry's --authorized-keys, and --registry-key"
    if isinstance(error, SecretRefused) and settings.secret is None:
        return "give --secret-file or set DEPLOYD_SECRET"
    if isinstance(error, SecretRefused):
        return "check --secret, --secret-file or DEPLOYD_SECRET"
    return f"is that the {kind}?"


def _start_over(registry: str) -> None:
    """Run this command anew with the registry's TLS address known from the start (``running.prepare``)."""
    os.environ["DEPLOYD_REGISTRY"] = registry
    os.execv(sys.executable, [sys.executable, "-P", "-m", "deployd.cli", *sys.argv[1:]])
