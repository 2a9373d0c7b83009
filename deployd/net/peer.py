"""One AMP connection, bounded on every side.

Note [What a peer may cost]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
AMP keeps a box until it ends and answers whoever asks, so each end bounds: the bytes of one box (small before the
handshake), the commands it answers at once, the calls it waits for, the time it waits, the silence it bears, and, on
the server, the answers that the peer does not read (while they wait, nothing more is read from it, nor answered of what
was read, so a peer that never reads soon cannot ask either; the keepalive then drops it). A broken or hostile peer
costs its own connection and one log line.

Note [Gone at once]
~~~~~~~~~~~~~~~~~~~
A daemon with many objects rarely has Python look for cycles. A peer that is one would stay until then, with all that
came in and was not taken, a hundred kilobytes perhaps, and so would thousands of them. So when a connection is lost it
lets go of all that refers to it, and is gone with the last one who knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionClosed, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport, ITransport
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from deployd.errors import Busy, InternalError, Malformed, NoAnswer, Unreachable, UsageError
from deployd.net.boxes import BoxCutter
from deployd.net.conversation import Conversation
from deployd.net.read_gate import ReadGate
from deployd.net.sending import sender
from deployd.wire.handshake import Ping

CONNECTION_DONE = Failure(ConnectionDone())

MAX_BOX = 256 * 1024
MAX_BOX_BEFORE_HANDSHAKE = 8 * 1024
MAX_ANSWERING = 64
MAX_CALLS = 256
CALL_TIMEOUT = 10.0


class Peer(BoxCutter):
    """The other end of a conversation; ``call`` talks to it, ``conversation`` answers it.

    ``facts`` is what the server said of itself in the handshake. A subclass (``deployd.net.server``,
    ``deployd.net.client``) does the handshake and then calls ``established``.
    """

    _log = Logger()
    transport: Any

    def __init__(self, clock: IReactorTime, locator: Any = None) -> None:
        super().__init__(locator=locator)
        self._clock = clock
        self._established = False
        self.box_limit = MAX_BOX_BEFORE_HANDSHAKE
        self._answering = 0
        self._calls = 0
        self._heard = 0.0
        self._keepalive: IDelayedCall | None = None
        self._closed: list[Deferred[None]] = []
        self.is_closed = False
        self.conversation: Conversation = Conversation()
        self.facts: dict[str, str] = {}

    # What the rooms use.

    def call(self, command: type[amp.Command], timeout: float = CALL_TIMEOUT, **arguments: Any) -> Deferred[Any]:
        """Send ``command``; the answer's dict, or one of its declared errors, Unreachable, NoAnswer, Busy."""
        return self.ask(command, arguments, timeout)

    def ask(self, command: type[amp.Command], arguments: dict[str, Any], timeout: float) -> Deferred[Any]:
        """``call`` for a command that has an argument called ``timeout`` itself."""
        if self._calls >= MAX_CALLS:
            return fail(Busy("too many calls wait for this peer"))
        self._calls += 1
        answer: Deferred[Any] = maybeDeferred(self.callRemote, command, **arguments)
        answer.addTimeout(timeout, self._clock)

        def done(result: Any) -> Any:
            self._calls -= 1
            return result

        answer.addBoth(done)
        answer.addErrback(_plainly)
        # AMP appends its own last errback to `answer`, which would swallow errors from callers who add theirs later.
        result: Deferred[Any] = Deferred(lambda _: answer.cancel())
        answer.addCallbacks(result.callback, result.errback)
        return result

    def established(self, conversation: Conversation, heartbeat: float, timeout: float) -> None:
        """The handshake is over: answer ``conversation``'s commands and watch the link."""
        self._established = True
        self.box_limit = MAX_BOX
        self.conversation = conversation
        self._heartbeat, self._silence = heartbeat, timeout
        self._heard = self._clock.seconds()
        self._keepalive = self._clock.callLater(min(heartbeat, timeout), self._keep_alive)

    def when_closed(self) -> Deferred[None]:
        """Fires once, when the connection is gone."""
        if self.is_closed:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._closed.append(waiter)
        return waiter

    def drop(self, why: str) -> None:
        """Abort the connection with one log line; nothing more of it is answered."""
        self.is_dropped = True
        if self.transport is not None:
            self._log.info("dropping {peer}: {why}", peer=self.peer_name(), why=why)
            self.transport.abortConnection()

    def hang_up(self) -> None:
        """Close once what was written is sent. A transport that has a producer (``gate_reading``) would wait for it."""
        if self.transport is not None:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def peer_host(self) -> str:
        """The IP address at the other end; empty for a UNIX socket."""
        return str(getattr(self.transport.getPeer(), "host", ""))

    def peer_name(self) -> str:
        address = self.transport.getPeer()
        return f"{getattr(address, 'host', address)}:{getattr(address, 'port', '')}"

    # What AMP calls.

    def makeConnection(self, transport: ITransport) -> None:
        self._heard = self._clock.seconds()
        if ITCPTransport.providedBy(transport):
            # A small box after another would wait 40 ms for the acknowledgement that the other side puts off.
            transport.setTcpNoDelay(True)
        self._send = sender(transport)
        super().makeConnection(transport)

    def sendBox(self, box: amp.AmpBox) -> None:
        """At once where the socket takes it (Note [Sending at once])."""
        if self.transport is None:
            raise ConnectionLost()
        self._send(box.serialize())

    def gate_reading(self) -> ReadGate:
        """Stop reading while the peer does not read (Note [What a peer may cost]); servers call this."""
        gate = ReadGate(self)
        self.transport.registerProducer(gate, True)
        return gate

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        self._heard = self._clock.seconds()
        super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Callable[[amp.AmpBox], Any] | None:
        if self._established:
            found = self.conversation.locateResponder(name)
            if found is not None:
                return found  # type: ignore[no-any-return]
        return super().locateResponder(name)  # type: ignore[no-any-return]

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:
        if self._answering >= MAX_ANSWERING:
            return fail(amp.RemoteAmpError(b"Busy", "too many commands at once"))
        self._answering += 1
        answer: Deferred[amp.AmpBox] = maybeDeferred(super().dispatchCommand, box)

        def done(result: Any) -> Any:
            self._answering -= 1
            return result

        return answer.addBoth(done).addCallback(_fitting).addErrback(self._declared)

    def unhandledError(self, failure: Failure) -> None:
        # Callers of `call` get every error; what arrives here is the rest of a connection that is gone.
        self._log.debug("unanswered: {error}", error=failure.value)

    def connectionLost(self, reason: Failure = CONNECTION_DONE) -> None:
        if self._keepalive is not None and self._keepalive.active():
            self._keepalive.cancel()
        # First, for whoever hears of it below and asks.
        self.is_closed = True
        closed, self._closed = self._closed, []
        try:
            super().connectionLost(reason)
            self.conversation.closed()
        finally:
            self.let_go()
            for waiter in closed:
                waiter.callback(None)

    def let_go(self) -> None:
        """Refer to nothing that refers back (Note [Gone at once])."""
        self.forget()
        self.conversation = Conversation()
        self.locator = self.boxReceiver = self.boxSender = None
        self._send = _nowhere

    # The responders that every peer has, and the rest of the bounds.

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        return {}

    def _declared(self, failure: Failure) -> Failure:
        """Answer what AMP itself would close the connection for; responders declare their own errors."""
        if failure.check(amp.RemoteAmpError):
            return failure
        if failure.check(Malformed, KeyError, ValueError, TypeError):
            raise amp.RemoteAmpError(b"Malformed", "an argument is missing or is not what the protocol asks for")
        self._log.failure("while answering {peer}", failure=failure, peer=self.peer_name())
        raise amp.RemoteAmpError(InternalError.__name__.encode(), str(InternalError()))

    def _keep_alive(self) -> None:
        now = self._clock.seconds()
        if self._keepalive is not None:
            # While this process did not run (stopped, or its machine suspended), nobody could be heard.
            self._heard = min(now, self._heard + now - self._keepalive.getTime())
        silence = now - self._heard
        if silence >= self._silence:
            self.drop(f"silent for {silence:.0f} s")
            return
        if silence >= self._heartbeat:
            self.call(Ping, timeout=self._silence).addErrback(lambda _: None)
        self._keepalive = self._clock.callLater(min(self._heartbeat, self._silence - silence), self._keep_alive)


def _nowhere(data: bytes) -> None:
    raise ConnectionLost()


def _fitting(answer: amp.AmpBox) -> amp.AmpBox:
    """Fail instead of sending what AMP would drop the connection for."""
    for name, value in answer.items():
        if len(value) > amp.MAX_VALUE_LENGTH:
            raise AnswerTooLong(name.decode("ascii", "replace"))
    return answer


class AnswerTooLong(Exception):
    """A responder's answer does not fit into a message; it should have been paged."""


def _plainly(failure: Failure) -> Failure:
    """Connection and protocol errors as deployd's own, so that callers meet only DeploydErrors."""
    if failure.check(TimeoutError):
        raise NoAnswer()
    if failure.check(ConnectionClosed, ConnectionAborted):
        raise Unreachable("the connection was lost")
    if failure.check(amp.TooLong):
        raise UsageError("one of the values is too long for a message")
    if failure.check(amp.UnhandledCommand, amp.UnknownRemoteError, amp.RemoteAmpError):
        raise InternalError("the other side does not know this command or failed at it")
    return failure
