"""What the hub says of the cluster around the drone, kept so that apps can run without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from deployd.drone.means import Place
from deployd.drone.port_table import PortTable, RegistryTerms
from deployd.errors import NoAnswer, Refused
from deployd.model.address import Address, is_loopback, is_several, reachable, reachable_text
from deployd.model.invalid import Invalid
from deployd.net.secret import read_url

PATIENCE = 10.0
REGISTRY_PORT = 6000


@frozen
class Joined:
    """The hub's answer to Join. ``git`` and ``registry`` are addresses, ``host`` is what the rows should carry."""

    epoch: str
    registry: str
    git: str
    host: str
    credential: bytes = field(repr=False)

    def seen_from(self, dialled: str) -> Joined:
        """The same with addresses that work here, where the hub was dialled as ``dialled``."""
        return Joined(self.epoch, _seen(self.registry, dialled), _seen(self.git, dialled), self.host, self.credential)


class Surroundings:
    """``registry`` and ``advertise`` are the operator's words, which go before the hub's; ``facts`` and ``note`` are
    the journal's. ``read_token`` gives what opens a private registry's HTTP side to apps, "" if nothing does.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        table: PortTable,
        registry: str,
        advertise: str,
        note: Callable[..., Deferred[None]],
        read_token: Callable[[], str] = str,
    ) -> None:
        self._clock = clock
        self._table = table
        self._registry = registry
        self._advertise = advertise
        self._note = note
        self._read_token = read_token
        self._noted: dict[str, str] = {}
        self._git = ""

    def recall(self, facts: Mapping[str, str]) -> None:
        """Go on with what was true before the drone was restarted; the hub may be away."""
        self._noted = {name: facts.get(name, "") for name in ("registry", "host", "credential", "url", "private")}
        self._use()

    def joined(self, answer: Joined) -> None:
        """The hub has spoken."""
        self._git = answer.git if "://" in answer.git else f"http://{answer.git}"
        registry = self._registry or answer.registry
        # The URL is the registry's own word: apps must not be told one registry's address and another one's URL.
        same = self._noted.get("registry") == registry
        self._remember(
            registry=registry,
            url=self._noted.get("url", "") if same else "",
            host=self._advertise or answer.host,
            credential=answer.credential.hex(),
        )
        if not self._noted.get("registry"):
            self._log.warn("the hub names no registry: give the hub or this drone --registry")
        self._use()

    def git_url(self, app: str) -> str:
        """Where the hub has the repository of ``app``."""
        if not self._git:
            raise NoAnswer("the hub has not said yet where its repositories are")
        return f"{self._git}/{quote(app)}.git"

    def place(self) -> Deferred[Place]:
        """What apps are told; fails with NoAnswer as long as the registry has never been reached."""
        return Deferred.fromCoroutine(self._place())

    async def _place(self) -> Place:
        address = self._noted.get("registry", "")
        if not self._table.url and not self._noted.get("url"):
            if not address:
                raise Refused("there is no registry: give the hub or this drone --registry")
            try:
                await self._table.reached().addTimeout(PATIENCE, self._clock)
            except Exception as error:
                raise NoAnswer(f"the registry at {_plain(address)} does not answer") from error
        if self._table.url:
            self._remember(url=self._table.url, private="yes" if self._table.private else "")
        return Place(self._noted["host"], _plain(address), self._url())

    def _url(self) -> str:
        """With a token where reading is closed, which is never saved: an app has it in its environment alone."""
        token = self._read_token() if self._noted.get("private") else ""
        return read_url(self._noted["url"], token) if token else self._noted["url"]

    def _use(self) -> None:
        noted = self._noted
        if noted.get("registry"):
            self._table.use(RegistryTerms(noted["registry"], bytes.fromhex(noted["credential"]), noted["host"]))

    def _remember(self, **facts: str) -> None:
        new = {name: value for name, value in facts.items() if self._noted.get(name) != value}
        if new:
            self._noted |= new
            self._note(**new).addErrback(self._not_noted)

    def _not_noted(self, failure: Failure) -> None:
        self._log.warn("{error}", error=failure.value)


def _seen(text: str, dialled: str) -> str:
    """``HOST:PORT`` (several, with commas) or ``SCHEME://HOST:PORT`` as reached from here; the rest as it is."""
    if is_several(text):
        return reachable_text(text, dialled)
    scheme, separator, rest = text.rpartition("://")
    try:
        address = Address.parse(rest)
    except Invalid:
        return text
    if scheme == "https" and is_loopback(address.host):
        # Even where loopback would do, a certificate is for the name by which the hub is known.
        address = Address(dialled, address.port)
    return scheme + separator + str(reachable(address, dialled))


def _plain(addresses: str) -> str:
    """``HOST:PORT`` of each ADDRESS, which may be a Twisted endpoint string with its kind in front."""
    return ",".join(map(_plain_one, addresses.split(",")))


def _plain_one(address: str) -> str:
    try:
        return str(Address.parse(address))
    except Invalid:
        if ":" not in address:
            return f"{address}:{REGISTRY_PORT}"
        host, _, port = address.partition(":")[2].partition(":")
        return f"{host}:{port.partition(':')[0]}" if port else address
