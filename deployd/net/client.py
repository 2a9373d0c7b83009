"""The dialling end of one connection."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from deployd.errors import DeploydError, NoAnswer, SecretRefused, Unreachable
from deployd.net.choices import Choice, Choices
from deployd.net.conversation import Conversation
from deployd.net.handshake import NONCE, Credentials, Transcript, agreed_version, check_server, check_server_key
from deployd.net.peer import Peer
from deployd.wire.handshake import NEWEST_VERSION, OLDEST_VERSION, Hello, Prove

HANDSHAKE_TIMEOUT = 10.0
# Seconds until one of several addresses counts as dead.
CHOICE_TIMEOUT = 3.0

# Whoever waited does not any more: no reason to try elsewhere.
GIVEN_UP = (CancelledError, ConnectingCancelledError)


@frozen
class Dial:
    """How to reach a server. ``shown`` is its address (several: all of them) as errors name it."""

    clock: IReactorTime
    endpoint: IStreamClientEndpoint | Choices
    shown: str
    credentials: Credentials


class ClientPeer(Peer):
    """The client's end of one connection; ``shown`` is the address that was dialled."""

    shown = ""

    async def shake_hands(self, dial: Dial, conversation: Callable[[Peer], Conversation]) -> None:
        """Raise SecretRefused, IncompatibleVersion, ...; after it the peer may be called."""
        mine = dial.credentials
        nonce = secrets.token_bytes(NONCE)
        hello = await self._greet(mine, nonce)
        if mine.secret is not None and not hello["secret"]:
            raise SecretRefused("the server has no secret, so it cannot prove that it is yours; nothing was sent to it")
        version = agreed_version(hello["version"], hello["version"], f"the {hello['kind']}", mine.purpose)
        transcript = Transcript(version, hello["kind"], mine.purpose, nonce, hello["nonce"])
        owner = mine.identity.owner if mine.identity else ""
        answer = await self.call(
            Prove,
            timeout=HANDSHAKE_TIMEOUT,
            proof=transcript.client_proof(mine.secret, owner) if mine.secret else b"",
            owner=owner,
            key=mine.identity.key if mine.identity else b"",
            signature=transcript.signature(mine.identity) if mine.identity else b"",
        )
        if mine.secret is not None:
            check_server(transcript, mine.secret, owner, answer["proof"])
        if mine.server_keys:
            check_server_key(transcript, mine.server_keys, owner, dict(answer["facts"]))
        self.facts = {str(key): str(value) for key, value in dict(answer["facts"]).items()}
        self.established(conversation(self), answer["heartbeat"], answer["timeout"])

    async def _greet(self, mine: Credentials, nonce: bytes) -> dict[str, Any]:
        try:
            hello: dict[str, Any] = await self.call(
                Hello,
                timeout=HANDSHAKE_TIMEOUT,
                oldest=OLDEST_VERSION,
                newest=NEWEST_VERSION,
                program=mine.program,
                purpose=mine.purpose,
                nonce=nonce,
            )
        except NoAnswer:
            raise
        except Unreachable as error:
            why = f"{error} at the first word; is that deployd, with TLS on both sides or neither?"
            raise Unreachable(why) from None
        return hello


def client_factory(clock: IReactorTime) -> Factory[Any]:
    factory: Factory[Any] = Factory.forProtocol(lambda: ClientPeer(clock))
    factory.noisy = False
    return factory


async def connect(dial: Dial, conversation: Callable[[Peer], Conversation] | None = None) -> Peer:
    """One authenticated connection; raise Unreachable, NoAnswer, SecretRefused, IncompatibleVersion."""
    return await reach(dial, lambda peer: peer.shake_hands(dial, conversation or (lambda _: Conversation())))


async def reach(dial: Dial, establish: Callable[[ClientPeer], Awaitable[None]]) -> ClientPeer:
    """A connection to the first of the addresses where ``establish`` goes through. Raise as ``connect``.

    A dead one of several costs CHOICE_TIMEOUT, or the handshake's time when it takes connections and says nothing.
    """
    if not isinstance(dial.endpoint, Choices):
        return await _reach(dial.clock, Choice(dial.endpoint, dial.shown), establish, None)
    errors: list[DeploydError] = []
    for choice in dial.endpoint.in_order(dial.clock.seconds()):
        try:
            peer = await _reach(dial.clock, choice, establish, CHOICE_TIMEOUT)
        except DeploydError as error:
            errors.append(error)
        else:
            dial.endpoint.reached(choice)
            return peer
    raise errors[0] if len(errors) == 1 else none_of_them(errors)


async def _reach(
    clock: IReactorTime, choice: Choice, establish: Callable[[ClientPeer], Awaitable[None]], seconds: float | None
) -> ClientPeer:
    dialling: Deferred[Any] = choice.endpoint.connect(client_factory(clock))
    if seconds is not None:
        # Not every endpoint gives a CancelledError when it is cancelled.
        dialling.addTimeout(seconds, clock, lambda *_: _too_late())
    try:
        peer: ClientPeer = await dialling
    except GIVEN_UP as given_up:
        # As whoever waits with a timeout knows it, whatever the endpoint calls it.
        raise CancelledError from given_up
    except Exception as error:
        raise named(choice.shown, error) from error
    peer.shown = choice.shown
    try:
        await establish(peer)
        if peer.is_closed:
            raise Unreachable("the connection was lost")
    except BaseException as error:
        peer.transport.abortConnection()
        if isinstance(error, GIVEN_UP) or not isinstance(error, Exception):
            raise
        raise named(choice.shown, error) from error
    return peer


def _too_late() -> Any:
    raise TimeoutError()


def none_of_them(errors: list[DeploydError]) -> DeploydError:
    """Why none of several addresses will do, as one sentence; its kind is the most telling one."""
    kinds = [type(error) for error in errors]
    refusals = [kind for kind in kinds if not issubclass(kind, Unreachable)]
    kind = refusals[0] if refusals else NoAnswer if set(kinds) == {NoAnswer} else Unreachable
    return kind(f"none of {len(errors)} addresses will do: {'; '.join(map(str, errors))}")


def unreachable(shown: str, error: BaseException) -> DeploydError:
    """Why ``shown`` could not be reached, as one sentence."""
    if isinstance(error, DNSLookupError):
        return Unreachable(f"cannot reach {shown}: no such host")
    if isinstance(error, TimeoutError):
        return NoAnswer(f"cannot reach {shown}: no answer in time")
    if isinstance(error, ConnectError | ConnectionClosed | OSError):
        return Unreachable(f"cannot reach {shown}: {_reason(error)}")
    return Unreachable(f"cannot reach {shown}: {_of_tls(error) or f'{type(error).__name__}: {error}'}")


def named(shown: str, error: BaseException) -> DeploydError:
    """``error`` of a handshake with the address in front, which the error alone would not tell."""
    if isinstance(error, DeploydError):
        return type(error)(f"{shown}: {error}")
    return unreachable(shown, error)


def _reason(error: BaseException) -> str:
    """The last part of Twisted's "Connection was refused by other side: 111: Connection refused."."""
    return str(error).rstrip(".").rpartition(": ")[2].lower() or type(error).__name__


def _of_tls(error: BaseException) -> str:
    """What an error of the TLS libraries means; "" for others.

    They are told by their modules' names: importing them would be a quarter of deployctl's start.
    """
    library = type(error).__module__.partition(".")[0]
    if library == "service_identity":
        return "its certificate is for another host; nothing was sent to it"
    if library != "OpenSSL":
        return ""
    if "certificate verify failed" in str(error):
        return "its certificate is expired or not signed by an authority trusted here; nothing was sent to it"
    return f"TLS with it failed ({str(error)[:200]}); does it speak TLS?"
