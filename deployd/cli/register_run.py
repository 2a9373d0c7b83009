"""``deployctl register`` put together: the registry met, a port taken, signals, words, and the row that stands."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThreadPool

from deployd.cli.cluster import Cluster, Row
from deployd.cli.register_checks import CONNECT, OthersPort, OwnPort, unchecked
from deployd.cli.register_program import Command, runnable
from deployd.cli.register_row import Standing, Terms
from deployd.cli.register_words import environment, owner_name, row_id
from deployd.cli.running import DEFAULT_TIMEOUT
from deployd.cli.settings import REGISTRY_PORT, Settings
from deployd.client.owner import OwnedRows, url_from_here
from deployd.client.reader import Wanted, query
from deployd.errors import (
    DeploydError,
    IncompatibleVersion,
    PermissionRefused,
    Refused,
    SecretRefused,
    Superseded,
    UsageError,
)
from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration
from deployd.model.revision import Revision
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import read_url
from deployd.processes.environment import bind_host, machine_addresses
from deployd.processes.guarding import Guard
from deployd.processes.ports import Ports

INTERRUPTED = 130

# What is no use to try again.
_FATAL = (IncompatibleVersion, PermissionRefused, SecretRefused)


@frozen
class Asked:
    """What to register. ``port`` is None for one of ``ports``; without ``argv`` somebody else listens on it already.

    ``row`` has the host to advertise, "" for what the registry sees. ``instance`` names COMMAND's processes.
    """

    row: Registration
    instance: str
    port: int | None
    ports: tuple[int, int]
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    key: str | None
    check: bool
    port_argument: bool
    terms: Terms
    timeout: float | None = None


class Words:
    """``say(sentence, line)``: for people, and what a watch would say."""

    def __init__(self, say: Callable[[str, Row | None], None], rows: Callable[[], OwnedRows]) -> None:
        self._say = say
        self._rows = rows

    def put(self, row: Registration, revision: Revision) -> None:
        document = self._document(row) | {"revision": revision.number}
        where = Address(str(document["host"]), row.port)
        line = {"type": "put", "revision": revision.number, "row": document}
        self._say(f"{_named(row)} is registered at {where} in {row.namespace}, as {row.id}", line)

    def freed(self, row: Registration) -> None:
        self._say(f"{_named(row)} is no longer registered", {"type": "delete", "row": self._document(row)})

    def note(self, sentence: str) -> None:
        self._say(sentence, None)

    def _document(self, row: Registration) -> Row:
        names = ("id", "namespace", "role", "version", "port", "meta", "owner")
        return {name: getattr(row, name) for name in names} | {"host": self._rows().host}


async def registered(
    cluster: Cluster, asked: Asked, guard: Guard | None, say: Callable[[str, Row | None], None]
) -> int:
    """Until a signal, an error, or COMMAND's end for good; the exit code. Raise Unreachable, SecretRefused, ..."""
    reactor = cluster.clock
    identity = _identity(asked.key)
    # The deadline is that of getting there.
    first = Cluster(reactor, cluster.settings, asked.timeout or DEFAULT_TIMEOUT)
    address = await first.registry_address()
    registry = await first.owner_session(address, identity)
    url, host = _url(registry, address, cluster.settings), _host(registry, asked.row.host)
    registry.hang_up()
    row = evolve(asked.row, host="", owner=identity.owner, id=asked.row.id or row_id(asked.row, identity.owner))

    ports = Ports(*_range(asked), reactor, start=random.randrange(65536))
    try:
        row = evolve(row, port=_port(asked, ports))
        to_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        command: Command | None = None
        if asked.argv:
            runnable(asked.argv[0], asked.env.get("PATH", ""))
            shown = address if ":" in address else f"{address}:{REGISTRY_PORT}"
            env = environment(
                asked.env,
                port=row.port,
                host=host,
                registry=shown,
                url=url,
                namespace=row.namespace,
            )
            argv = (*asked.argv, str(row.port)) if asked.port_argument else asked.argv
            command = Command(reactor, to_thread, asked.instance, argv, env, guard)
            check: Any = OwnPort(reactor, to_thread, asked.instance, command, (host, row.port))
        else:
            where = Address(asked.row.host or "127.0.0.1", row.port)
            check = OthersPort(HostnameEndpoint(reactor, where.host, where.port, timeout=CONNECT), where)
        owner = Owner(cluster, address, identity, row, asked.row.host, say)
        words = Words(say, lambda: owner.rows)
        standing = Standing(
            reactor, owner.rows, row, check if asked.check else unchecked, command, words, asked.terms, random.random
        )
        owner.standing = standing
        _on_signals(reactor, standing)
        code = await standing.run()
    finally:
        ports.close()
    if guard is not None:
        guard.dismiss()
    return code


class Owner:
    """The rows of this run, and what it makes of their troubles. ``standing`` is set before they start."""

    standing: Standing

    def __init__(
        self,
        cluster: Cluster,
        address: str,
        identity: Identity,
        row: Registration,
        advertise: str,
        say: Callable[[str, Row | None], None],
    ) -> None:
        self._row = row
        self._say = say
        self._name = owner_name()
        self._away = False
        self.rows = OwnedRows(
            dial=cluster.owner_dial(address, identity),
            name=self._name,
            credential=b"",
            advertise=advertise,
            failed=self._failed,
            before=self._look,
        )

    async def _look(self, peer: Peer) -> None:
        """End where another run has taken over meanwhile (Note [No gap, and no fight])."""
        if self._away:
            self._away = False
            self._say("the registry is back", None)
        if not self.standing.has_stood:
            return
        row = self._row
        for found in await query(peer, Wanted(row.role, row.namespace)):
            ours = found.get("id") == row.id and found.get("owner") == row.owner
            if ours and (found.get("drone"), found.get("port")) != (self._name, row.port):
                where = Address(str(found.get("host")), int(found.get("port") or 0))
                error = Superseded(
                    f"another run with the same key has taken over {_named(row)}, at {where}: this one ends"
                )
                self.standing.fail(error)
                raise error

    def _failed(self, error: DeploydError) -> None:
        if isinstance(error, Superseded):
            return
        if isinstance(error, _FATAL) and not self.standing.has_stood:
            self.standing.fail(error)
        elif not self._away:
            self._away = True
            self._say(f"{error}; trying on", None)


def _identity(path: str | None) -> Identity:
    """The one kept at ``path``, made when there is none; one of this run's own without a path."""
    if path is None:
        return Identity.create()
    try:
        return Identity.load(Path(path))
    except OSError as error:
        raise UsageError(f"cannot keep a key at {path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise UsageError(f"{path} is not a key that `deployctl register` or `deployctl key new` has made") from None


def _url(registry: Peer, address: str, settings: Settings) -> str:
    """The registry's HTTP, as COMMAND may read it; "" where it has none, or none that we can open."""
    url = url_from_here(registry, address)
    if not url or registry.facts.get("private") != "yes":
        return url
    return read_url(url, settings.secret.read_token()) if settings.secret is not None else ""


def _host(registry: Peer, advertised: str) -> str:
    """Where COMMAND should listen, so that its row leads to it."""
    local = str(getattr(registry.transport.getHost(), "host", "")).removeprefix("::ffff:")
    if not advertised and local and not is_loopback(local):
        advertised = local
    elif not advertised:
        # A registry on this machine gives such rows the host that it names itself by.
        advertised = _host_of(registry.facts.get("http", "")) or "127.0.0.1"
    return bind_host(advertised, machine_addresses())


def _host_of(text: str) -> str:
    try:
        return Address.parse(text).host
    except Invalid:
        return ""


def _range(asked: Asked) -> tuple[int, int]:
    return asked.ports if asked.port is None else (asked.port, asked.port)


def _port(asked: Asked, ports: Ports) -> int:
    """One for COMMAND that nobody has; raise Refused."""
    if asked.port is None:
        return ports.allocate().number
    if asked.argv:
        try:
            ports.allocate(asked.port)
        except Refused:
            raise Refused(f"port {asked.port} is taken by another program; leave --port away for a free one") from None
    return asked.port


def _on_signals(reactor: Any, standing: Standing) -> None:
    """INT, TERM and HUP end everything in order; a second one at once. What is ignored stays so (nohup)."""
    for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 0), (signal.SIGHUP, 0)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_, code=code: reactor.callFromThread(standing.stop, code))


def _named(row: Registration) -> str:
    return f"{row.role}@{row.version}" if row.version else row.role
