"""ADDRESS arguments and listening ports as Twisted endpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, clientFromString, quoteStringArgument
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint

from deployd.errors import UsageError
from deployd.model.address import Address, each_address, is_loopback, is_several
from deployd.model.invalid import Invalid
from deployd.net.choices import Choice, Choices

# Seconds before the next address of a name is tried beside the first. Twisted's 0.3 is what `localhost` would cost
# wherever it means ::1 first, and what a refused connection would take to be noticed.
ATTEMPT_DELAY = 0.02

# One part of an endpoint string; a backslash takes its meaning from the character after it.
_ARGUMENT = re.compile(r"((?:[^:\\]|\\.)+)")


def client_endpoint(reactor: Any, text: str, default_port: int) -> tuple[IStreamClientEndpoint, str]:
    """An endpoint for ``HOST``, ``HOST:PORT`` or a Twisted client endpoint string, and how errors name it.

    Raise UsageError for anything else.
    """
    if is_several(text):
        raise UsageError("only one address can be given here: HOST:PORT")
    try:
        address = Address.parse(text)
    except Invalid:
        return _from_string(reactor, text, default_port)
    return _by_name(reactor, address.host, address.port), str(address)


def client_endpoints(reactor: Any, text: str, default_port: int) -> tuple[IStreamClientEndpoint | Choices, str]:
    """As ``client_endpoint``, for ``A,B,C`` too: several addresses of which the first that answers will do."""
    try:
        parts = each_address(text)
    except Invalid as error:
        raise UsageError(str(error)) from None
    choices = [Choice(*client_endpoint(reactor, part, default_port)) for part in parts]
    if len(choices) == 1:
        return choices[0].endpoint, choices[0].shown
    return Choices(choices), ",".join(choice.shown for choice in choices)


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


def host_of(address: str) -> str:
    """The host in an ADDRESS: of HOST, HOST:PORT, ``KIND:HOST:PORT...``; "" where there is none (``unix:PATH``)."""
    try:
        return Address.parse(address).host
    except Invalid:
        pass
    if ":" not in address and "/" not in address:
        return address
    _, host, port = (_ARGUMENT.findall(address) + ["", "", ""])[:3]
    return _unescaped(host) if port.isdigit() else ""


def roots_of(address: str) -> str | None:
    """The certificates (PEM) that a TLS client endpoint string trusts, for HTTPS to the same machine.

    None: those that this system trusts; empty: none. So a drone's ``--hub tls:HOST:PORT:trustRoots=DIR`` serves its git
    fetches too. Raise UsageError.
    """
    # Here and not above: deployctl has no use for it, and it would make its start longer.
    import ssl

    named = [part.partition("=")[2] for part in _ARGUMENT.findall(address) if part.startswith("trustRoots=")]
    if not named:
        return None
    try:
        roots = "\n".join(path.read_text() for path in sorted(Path(_unescaped(named[0])).glob("*.pem")))
        if roots:
            ssl.create_default_context(cadata=roots)
        return roots
    except (OSError, ValueError) as error:
        raise UsageError(f"the certificates in {_unescaped(named[0])} cannot be read") from error


def _unescaped(argument: str) -> str:
    return re.sub(r"\\(.)", r"\1", argument)


def tcp_listener(port: int, interface: str) -> str:
    """The server endpoint string for a plain TCP port on one interface (empty: all)."""
    return f"tcp:{port}:interface={quoteStringArgument(interface)}" if interface else f"tcp:{port}"


def listening_address(port: IListeningPort, advertise: str) -> str:
    """``HOST:PORT`` at which peers reach a listening port: ``advertise``, else its interface, else loopback."""
    host = port.getHost()
    number = getattr(host, "port", None)
    if number is None:
        # A UNIX socket: as the client endpoint string that reaches it.
        return f"unix:{os.fsdecode(host.name)}" if hasattr(host, "name") else str(host)
    interface = getattr(host, "host", "")
    if not advertise and interface in ("", "0.0.0.0", "::"):
        return str(Address("127.0.0.1", number))
    return str(Address(advertise or interface, number))


def beyond_loopback(ports: Iterable[IListeningPort]) -> bool:
    """Whether any of these can be reached from another machine."""
    hosts = (getattr(port.getHost(), "host", None) for port in ports)
    return any(host is not None and not is_loopback(host) for host in hosts)
