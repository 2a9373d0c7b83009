"""Whether somebody listens on the port that is to be registered."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from deployd.cli.register_program import Command
from deployd.model.address import Address
from deployd.processes.census import ToThread
from deployd.processes.custody import Custody, described
from deployd.processes.listeners import Bind
from deployd.processes.probing import Prober

CONNECT = 2.0
PATIENCE = 3
"""So often in a row somebody else's port may fail to answer; a refusal counts at once."""


class OwnPort:
    """Whether COMMAND listens where it was told to: it, and nobody else, and with a connection once."""

    def __init__(self, reactor: Any, to_thread: ToThread, instance: str, command: Command, host: str) -> None:
        self._custody = Custody(to_thread)
        self._prober = Prober(reactor)
        self._instance = instance
        self._command = command
        self._host = host

    async def __call__(self, first: bool) -> str:
        """Why not, "" if it does; ``first``: it did not before."""
        bind: Bind = (self._host, self._command.port)
        holding = await self._custody.holding(self._instance, self._command.session, bind)
        if not holding.sockets:
            return f"nothing listens on port {bind[1]}"
        if holding.stranger:
            return described(bind, holding)
        return await self._prober.tcp(*bind, CONNECT) if first else ""


class OthersPort:
    """Whether somebody accepts connections where ``endpoint`` leads; ``shown`` is how sentences name that."""

    def __init__(self, endpoint: IStreamClientEndpoint, shown: Address) -> None:
        self._endpoint = endpoint
        self._shown = shown
        self._failures = 0

    async def __call__(self, first: bool) -> str:
        try:
            protocol: Any = await self._endpoint.connect(Factory.forProtocol(Protocol))
        except ConnectionRefusedError:
            return f"{self._shown} refuses connections"
        except Exception as error:  # whatever a resolver raises
            self._failures += 1
            lasts = first or self._failures >= PATIENCE
            return f"{self._shown} does not answer ({type(error).__name__})" if lasts else ""
        protocol.transport.loseConnection()
        self._failures = 0
        return ""


async def unchecked(first: bool) -> str:
    return ""
