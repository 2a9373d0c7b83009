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

from deployd.cli.cluster import Cluster
from deployd.cli.register_checks import CONNECT, OthersPort, OwnPort, unchecked
from deployd.cli.register_owner import Owner
from deployd.cli.register_program import Command, PortOf, runnable
from deployd.cli.register_row import Check, Standing, Terms
from deployd.cli.register_voice import Say, Voice, Words
from deployd.cli.register_words import environment, row_id
from deployd.cli.running import DEFAULT_TIMEOUT
from deployd.cli.settings import REGISTRY_PORT, Settings
from deployd.client.owner import url_from_here
from deployd.errors import UsageError
from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid
from deployd.model.registration import Registration
from deployd.net.identity import Identity
from deployd.net.peer import Peer
from deployd.net.secret import read_url
from deployd.processes.census import ToThread
from deployd.processes.environment import bind_host, machine_addresses
from deployd.processes.guarding import Guard
from deployd.processes.ports import Ports

INTERRUPTED = 130


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


async def registered(cluster: Cluster, asked: Asked, guard: Guard | None, speak: Say) -> int:
    """Until a signal, an error, or COMMAND's end for good; the exit code. Raise Unreachable, SecretRefused, ..."""
    reactor = cluster.clock
    say = Voice(reactor, speak)
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
        command: Command | None = None
        check: Check = unchecked
        if asked.argv:
            surroundings = partial(
                environment, asked.env, host=host, registry=_whole(address), url=url, namespace=row.namespace
            )
            command = _command(reactor, asked, PortOf(ports, asked.port), surroundings, guard)
            if asked.check:
                check = OwnPort(reactor, _to_thread(reactor), asked.instance, command, host)
        elif asked.port is not None:
            row = evolve(row, port=asked.port)
            check = _others(reactor, asked.row.host or "127.0.0.1", asked.port) if asked.check else unchecked
        owner = Owner(cluster, address, identity, row, asked.row.host, say)
        words = Words(say, lambda: owner.rows.host)
        standing = Standing(reactor, owner.rows, row, check, command, words, asked.terms, random.random)
        owner.standing = standing
        _on_signals(reactor, standing)
        code = await standing.run()
    finally:
        ports.close()
        await say.rest()
    if guard is not None:
        guard.dismiss()
    return code


def _command(
    reactor: Any, asked: Asked, port: PortOf, surroundings: Callable[..., dict[str, str]], guard: Guard | None
) -> Command:
    runnable(asked.argv[0], asked.env.get("PATH", ""))

    def words(port: int) -> tuple[tuple[str, ...], dict[str, str]]:
        return (*asked.argv, str(port)) if asked.port_argument else asked.argv, surroundings(port=port)

    return Command(reactor, _to_thread(reactor), asked.instance, port, words, guard)


def _others(reactor: Any, host: str, port: int) -> Check:
    return OthersPort(HostnameEndpoint(reactor, host, port, timeout=CONNECT), Address(host, port))


def _to_thread(reactor: Any) -> ToThread:
    return partial(deferToThreadPool, reactor, reactor.getThreadPool())


def _whole(address: str) -> str:
    return address if ":" in address else f"{address}:{REGISTRY_PORT}"


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


def _on_signals(reactor: Any, standing: Standing) -> None:
    """INT, TERM and HUP end everything in order; a second one at once. What is ignored stays so (nohup)."""
    for number, code in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, 0), (signal.SIGHUP, 0)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_, code=code: reactor.callFromThread(standing.stop, code))
