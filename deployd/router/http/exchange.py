"""One request and its answer: to a target, perhaps to another one, and back.

Note [Sending again]
~~~~~~~~~~~~~~~~~~~~
A request of which nothing was sent goes to another target whatever it is. One that was sent goes out again only if no
byte of an answer came, the method is idempotent, and its body is still at hand. So a kept connection that the app
closes just then costs an idempotent request nothing. Others (POST) take a kept connection only if it was used within
``fresh`` seconds and is open as the kernel sees it: no app closes idle connections that soon.
A failed target is not tried again until all were; then the request waits for the table to change, and looks for itself
every TICK: an app that is being restarted is back on its port, or on another, within the ``target`` limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from deployd.errors import Busy
from deployd.router.decision import Decision, Refusal
from deployd.router.http import errors
from deployd.router.http.answers import CHUNKED, UNTIL_CLOSE, Answer
from deployd.router.http.bodies import BadBody, Body, Chunked, Length, chunk, last_chunk
from deployd.router.http.heads import Request
from deployd.router.http.settings import TICK
from deployd.router.http.tunnel import Tunnel
from deployd.router.http.upstream import AppConnection
from deployd.router.http.writing import unsent
from deployd.router.target import Target

if TYPE_CHECKING:
    from deployd.router.http.connection import ClientConnection

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


class Exchange:
    """Made for ``request``; tells ``client`` when it is over. Implements upstream.Asking."""

    __slots__ = (
        "_again",
        "_app",
        "_asked",
        "_body",
        "_chunks",
        "_count_sent",
        "_decision",
        "_head",
        "_keep",
        "_over",
        "_point",
        "_replay",
        "_sent",
        "_status",
        "_tried",
        "_unsent",
        "_until",
        "_waiting",
        "began",
        "client",
        "instance",
        "method",
        "request",
        "request_id",
        "sent_bytes",
        "target",
    )

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        self.client = client
        self.request = request
        self.method = request.method
        self.began = now
        self.request_id = b""
        self.target: Target | None = None
        self.instance = ""
        self.sent_bytes = 0
        self._status = 0
        self._app: AppConnection | None = None
        self._decision: Decision | None = None
        self._tried: tuple[Target, ...] = ()
        # How often it was sent, how often it was given to a target, and of what is sent what may be needed again.
        self._sent = 0
        self._asked = 0
        self._again = False
        self._replay: bytes | None = b""
        length = request.length
        self._body: Body | None = None if length == 0 else Chunked() if length == CHUNKED else Length(length)
        self._chunks = False
        self._keep = False
        self._over = False
        self._until = 0.0
        self._unsent = -1
        self._waiting: Deferred[None] | None = None
        self._head = b""
        self._point = 0.0
        self._count_sent = False

    # -- to a target

    def start(self, now: float) -> None:
        client = self.client
        request = self.request
        added, self.request_id = client.origin.lines(request.field, request.claims, client.factory.new_id())
        if request.target == b"*":
            self._answer_options()
            return
        self._head = self._head_for_app(added)
        self._point = client.factory.random()
        self._decide(now)

    def _head_for_app(self, added: bytes) -> bytes:
        request = self.request
        lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (request.method, request.target, request.field), *request.lines]
        if request.length > 0 or (request.length == 0 and request.method in (b"POST", b"PUT", b"PATCH")):
            lines.append(b"Content-Length: %d" % request.length)
        elif request.length == CHUNKED:
            lines.append(b"Transfer-Encoding: chunked")
        if request.expects:
            lines.append(b"Expect: 100-continue")
        if request.upgrade:
            lines.append(b"Connection: Upgrade\r\nUpgrade: " + request.upgrade)
        elif request.trailers:
            lines.append(b"Connection: TE\r\nTE: trailers")
        lines.append(added)
        return b"\r\n".join(lines) + b"\r\n"

    def _decide(self, now: float) -> None:
        request = self.request
        path = request.target.partition(b"?")[0]
        decision = self.client.factory.table.decide(
            request.host, path, request.commit, request.cookies, now, self._point
        )
        if isinstance(decision, Refusal):
            self.refuse(decision.status, decision.reason)
            return
        self._decision = decision
        if decision.redirect and not self.client.factory.secure:
            self._redirect()
            return
        self._choose(decision, now)

    def _choose(self, decision: Decision, now: float) -> None:
        target = decision.target(now, self._tried)
        if target is None:
            self._wait(now)
            return
        self._again = False
        self._until = 0.0
        if self._waiting is not None:
            self._stop_waiting()
        self.client.factory.table.begin(target)
        self.target = target
        self.instance = target.id
        self._asked += 1
        self._tried += (target,)
        pool = self.client.factory.pool
        connection = pool.take(target, now, self.method not in IDEMPOTENT) if target.idle else None
        if connection is None:
            pool.connect(target, self)
        else:
            self._send(connection)

    def _wait(self, now: float) -> None:
        """Until the table changes or a moment has passed, at most until the limit."""
        settings = self.client.factory.settings
        if not self._until:
            self._until = now + settings.target
        if now >= self._until:
            self.refuse(503, errors.NO_TARGET)
            return
        if self._waiting is None:
            try:
                waiting = self.client.factory.table.when_changed()
            except Busy:
                self.refuse(503, errors.NO_TARGET)
                return
            self._waiting = waiting
            waiting.addCallbacks(self._changed, lambda _: None)
        self.client.deadline = min(now + TICK, self._until)

    def _changed(self, _: None) -> None:
        self._waiting = None
        self._look_again(self.client.factory.seconds())

    def _look_again(self, now: float) -> None:
        if not self._over and self.target is None:
            self._tried = ()
            self._decide(now)

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def connected(self, connection: AppConnection) -> bool:
        if self._over or self.target is not connection.target or self._app is not None:
            return False
        self._send(connection)
        return True

    def unreachable(self, target: Target) -> None:
        if not self._over and self.target is target:
            self._try_another(target)

    def _send(self, connection: AppConnection) -> None:
        """The head, and what there is of the body."""
        self._app = connection
        connection.carry(self)
        self._sent += 1
        if self._body is None:
            # _replay: what was sent before of a body that is complete.
            connection.write(self._head + self._replay if self._replay else self._head)
            self._await_answer()
            return
        connection.write(self._head + (self._replay or b""))
        self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.body
        self._take_held()

    def _await_answer(self) -> None:
        self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.answer

    def _leave(self) -> None:
        """The target has nothing more to do with this."""
        target, self.target = self.target, None
        if target is not None:
            self.client.factory.table.end(target)

    # -- the request's body

    def from_client(self, data: bytes) -> None:
        body, app = self._body, self._app
        if body is None or app is None or app.full:
            self.client.hold(data)
            return
        try:
            piece = body.feed(data)
        except BadBody:
            self._drop_app()
            self.refuse(400, errors.BAD_BODY)
            return
        if isinstance(body, Length):
            out = piece
        else:
            out = chunk(piece) if piece else b""
            if body.done:
                out += last_chunk(body.trailers)
        self._remember(out)
        if body.done:
            self._body = None
            if body.rest:
                self.client.hold(body.rest)
        if self._status:
            self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.progress
        elif body.done:
            self._await_answer()
        else:
            self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.body
        if out:
            app.write(out)

    def _remember(self, out: bytes) -> None:
        if self._replay is not None:
            if len(self._replay) + len(out) > self.client.factory.settings.replay:
                self._replay = None
            else:
                self._replay += out

    def _take_held(self) -> None:
        """Go on with what came while it could not be sent."""
        data = self.client.take_held()
        if data:
            self.from_client(data)
        if self._body is not None and self._app is not None and not self._app.full:
            self.client.resume()

    def app_full(self) -> None:
        self._unsent = -1
        if self._body is not None:
            self.client.pause()
            self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.stalled

    def app_drained(self) -> None:
        if self._body is not None:
            self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.body
            self._take_held()

    # -- the answer

    def interim(self, answer: Answer) -> None:
        if self.request.is_1_1:
            lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines]
            self.client.send(b"\r\n".join(lines) + b"\r\n\r\n")

    def answered(self, answer: Answer, data: bytes, body: Body | None) -> None:
        client, factory = self.client, self.client.factory
        status = self._status = answer.status
        decision, target = self._decision, self.target
        if decision is None or target is None:
            return
        now = factory.seconds()
        decision.count.add(status, now - self.began)
        factory.table.worked(target)
        head = self._head_for_client(answer, decision)
        self.sent_bytes = len(data)
        ended = body is None or body.done
        if self._chunks:
            data = chunk(data) if data else b""
            if ended and body is not None:
                data += last_chunk(body.trailers)
        client.send(head + data)
        if ended:
            self._ended(answer.keep and (body is None or not body.rest))
        else:
            # Also says, by the time that the body ends, whether the connection stands.
            self._again = answer.keep
            client.deadline = now + (factory.settings.progress if self._body is None else factory.settings.body)

    def _head_for_client(self, answer: Answer, decision: Decision) -> bytes:
        request = self.request
        lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines]
        length = answer.length
        keep = request.keep and self._body is None and not self.client.factory.draining
        if length > 0 or (length == 0 and answer.status not in (204, 304) and self.method != b"HEAD"):
            lines.append(b"Content-Length: %d" % length)
        elif length in (CHUNKED, UNTIL_CLOSE):
            if request.is_1_1:
                self._chunks = True
                lines.append(b"Transfer-Encoding: chunked")
            else:
                keep = False
        if decision.cookie:
            lines.append(b"Set-Cookie: " + decision.cookie)
        self._keep = keep
        if not keep:
            lines.append(b"Connection: close")
        elif not request.is_1_1:
            lines.append(b"Connection: keep-alive")
        lines.append(b"Via: 1.1 deployd\r\nX-Request-Id: %b\r\n\r\n" % self.request_id)
        return b"\r\n".join(lines)

    def more(self, data: bytes, body: Body) -> None:
        client = self.client
        self.sent_bytes += len(data)
        if self._chunks:
            data = chunk(data) if data else b""
            if body.done:
                data += last_chunk(body.trailers)
        if data:
            client.send(data)
        if body.done:
            self._ended(self._again and not body.rest)
        elif not client.full:
            client.deadline = client.factory.seconds() + client.factory.settings.progress

    def _ended(self, clean: bool) -> None:
        """The answer is complete. ``clean``: the app's connection can carry another request."""
        app, self._app = self._app, None
        if app is not None:
            if clean and self._body is None:
                app.release()
                app.resume()
                self.client.factory.pool.keep(app)
            else:
                app.abort()
        self._finish(self._keep and self._body is None)

    def client_full(self) -> None:
        """The client takes the answer more slowly than it comes."""
        self._unsent = -1
        self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.stalled
        if self._app is not None:
            self._app.pause()

    def client_drained(self) -> None:
        self.client.deadline = self.client.factory.seconds() + self.client.factory.settings.progress
        if self._app is not None:
            self._app.resume()

    def switched(self, answer: Answer, rest: bytes) -> None:
        app = self._app
        decision = self._decision
        if not self.request.upgrade or app is None or decision is None:
            self.garbage()
            return
        self._status = 101
        decision.count.add(101, self.client.factory.seconds() - self.began)
        lines = [b"HTTP/1.1 101 " + (answer.reason or b"Switching Protocols"), *answer.lines]
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + (answer.upgrade or self.request.upgrade))
        if decision.cookie:
            lines.append(b"Set-Cookie: " + decision.cookie)
        lines.append(b"Via: 1.1 deployd\r\nX-Request-Id: %b\r\n\r\n" % self.request_id)
        self.client.send(b"\r\n".join(lines))
        Tunnel(self.client, app, self).start(self.client.take_held(), rest)

    # -- what goes wrong

    def garbage(self) -> None:
        self._fail(502, errors.BAD_ANSWER)

    def lost(self, connection: AppConnection, begun: bool) -> None:
        self._app = None
        target = self.target
        if target is None:
            return
        again = not begun and not self._status and self.method in IDEMPOTENT and self._replay is not None
        if not again:
            self._fail(502, errors.UNREACHABLE)
        elif connection.used:
            # Only the connection was stale, the target may be well.
            self.client.factory.pool.connect(target, self)
        elif self._sent < self.client.factory.settings.tries:
            self._try_another(target)
        else:
            self._fail(502, errors.UNREACHABLE)

    def _try_another(self, target: Target) -> None:
        now = self.client.factory.seconds()
        self.client.factory.table.failed(target, now)
        self._leave()
        self._decide(now)

    def _fail(self, status: int, sentence: str) -> None:
        """The target did not do its work."""
        target = self.target
        if target is not None:
            self.client.factory.table.failed(target, self.client.factory.seconds())
        self._drop_app()
        if self._status:
            # Half an answer must not look like a whole one.
            self.client.abort()
        else:
            self.refuse(status, sentence)

    def _drop_app(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            app.abort()

    def refuse(self, status: int, sentence: str, location: bytes = b"") -> None:
        """The router answers."""
        if self._status:
            self.client.abort()
            return
        self._status = status
        if self._decision is not None:
            self._decision.count.add(status, self.client.factory.seconds() - self.began)
        keep = self.request.keep and self._body is None and not self.client.factory.draining
        head_only = self.method == b"HEAD"
        self.client.send(errors.own_answer(status, sentence, self.request_id, keep, head_only, location))
        self._drop_app()
        self._finish(keep)

    def _redirect(self) -> None:
        port = self.client.factory.settings.https_port
        host = self.request.host + (b"" if port == 443 else b":%d" % port)
        self.refuse(308, "This is served over HTTPS.", b"https://" + host + self.request.target)

    def _answer_options(self) -> None:
        self.refuse(200, "Every method may be used here.")

    def client_ended(self) -> None:
        """The client sends no more; it may still want its answer."""
        if self._body is not None:
            self.client.abort()

    def client_lost(self) -> None:
        self._drop_app()
        self._finish(False)

    def expired(self, now: float) -> None:
        """The present phase has taken too long."""
        settings, client, app = self.client.factory.settings, self.client, self._app
        if self.target is None:
            if self._until and now >= self._until:
                self.refuse(503, errors.NO_TARGET)
            else:
                self._look_again(now)
        elif app is None:
            # The connection being made has its own limit.
            client.deadline = now + settings.connect
        elif client.full:
            self._unless_moved(client.transport, now)
        elif self._body is not None and app.full:
            self._unless_moved(app.transport, now)
        elif self._body is not None and not self._status:
            self._drop_app()
            self.refuse(408, errors.SLOW_REQUEST)
        else:
            self._fail(504, errors.TOO_SLOW)

    def _unless_moved(self, transport: object, now: float) -> None:
        """Go on if the other side has taken anything since the last look."""
        waiting, self._unsent = unsent(transport), self._unsent
        if waiting >= 0 and waiting != self._unsent:
            self._unsent = waiting
            self.client.deadline = now + self.client.factory.settings.stalled
        elif self._status or self.client.full:
            self._drop_app()
            self.client.abort()
        else:
            self._fail(504, errors.TOO_SLOW)

    def tunnel_over(self) -> None:
        self._app = None
        self._finish(False)

    def _finish(self, keep: bool) -> None:
        if self._over:
            return
        self._over = True
        self._stop_waiting()
        self._leave()
        self.client.factory.tell(self, self._status, self._decision, self._asked)
        self.client.exchange_over(keep)
