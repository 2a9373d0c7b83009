"""ADDRESS arguments and listening ports as Twisted endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString, quoteStringArgument
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint

from deployd.errors import UsageError
from deployd.model.address import Address, is_loopback
from deployd.model.invalid import Invalid

# Seconds before the next address of a name is tried beside the first. Twisted's 0.3 is what `localhost` would cost
# wherever it means ::1 first, and what a refused connection would take to be noticed.
ATTEMPT_DELAY = 0.02


def client_endpoint(reactor: Any, text: str, default_port: int) -> tuple[IStreamClientEndpoint, str]:
    """An endpoint for ``HOST``, ``HOST:PORT`` or a Twisted client endpoint string, and how errors name it.

    Raise UsageError for anything else.
    """
    if "," in text:
        raise UsageError("several addresses are not supported here yet; give one HOST:PORT")
    try:
        address = Address.parse(text)
    except Invalid:
        return _from_string(reactor, text, default_port)
    return _by_name(reactor, address.host, address.port), str(address)


def _from_string(reactor: Any, text: str, default_port: int) -> tuple[IStreamClientEndpoint, str]:
    if text and ":" not in text and "/" not in text and "=" not in text:
        return _by_name(reactor, text, default_port), f"{text}:{default_port}"
    try:
        endpoint = clientFromString(reactor, text)
    except OSError as error:
        raise UsageError(f"{text[:200]!r} names a file or directory that cannot be read") from error
    except Exception as error:  # endpoint parsers raise whatever their plugins do
        raise UsageError(f"{text[:80]!r} is not an address: write HOST:PORT or a Twisted client endpoint") from error
    # Only kind, host and port: the rest may name key files.
    return endpoint, ":".join(part for part in text.split(":")[:3] if "=" not in part)


def _by_name(reactor: Any, host: str, port: int) -> HostnameEndpoint:
    return HostnameEndpoint(reactor, host, port, attemptDelay=ATTEMPT_DELAY)


def tcp_listener(port: int, interface: str) -> str:
    """The server endpoint string for a plain TCP port on one interface (empty: all)."""
    return f"tcp:{port}:interface={quoteStringArgument(interface)}" if interface else f"tcp:{port}"


def listening_address(port: IListeningPort, advertise: str) -> str:
    """``HOST:PORT`` at which peers reach a listening port: ``advertise``, else its interface, else loopback."""
    host = port.getHost()
    number = getattr(host, "port", None)
    if number is None:
        return str(getattr(host, "name", host))
    interface = getattr(host, "host", "")
    if not advertise and interface in ("", "0.0.0.0", "::"):
        return str(Address("127.0.0.1", number))
    return str(Address(advertise or interface, number))


def beyond_loopback(ports: Iterable[IListeningPort]) -> bool:
    """Whether any of these can be reached from another machine."""
    hosts = (getattr(port.getHost(), "host", None) for port in ports)
    return any(host is not None and not is_loopback(host) for host in hosts)
