"""One request and its answer."""

from __future__ import annotations

from deployd.router.http import errors, messages
from deployd.router.http.answers import Answer
from deployd.router.http.bodies import Body, chunk, last_chunk
from deployd.router.http.outward import Outward
from deployd.router.http.sockets import unsent
from deployd.router.http.tunnel import Tunnel


class Exchange(Outward):
    """Made for a request; tells its client when it is over. Implements upstream.Asking."""

    __slots__ = ()

    def interim(self, answer: Answer) -> None:
        if self.request.is_1_1:
            self.client.send(messages.interim(answer))

    def answered(self, answer: Answer, data: bytes, body: Body | None) -> None:
        decision, target, factory = self.decision, self.target, self._factory
        if decision is None or target is None:
            return
        request = self.request
        now = factory.seconds()
        self.status = answer.status
        decision.count.add(answer.status, now - self.began)
        factory.table.worked(target)
        self._chunks = answer.length < 0 and request.is_1_1
        # The length of what an old client gets is known to it only when its connection ends.
        known = answer.length >= 0 or self._chunks
        self._keep = request.keep and known and not self._uploading and not factory.draining
        head = messages.to_client(request, answer, self._keep, decision.cookie, self.request_id)
        self._app_stands = answer.keep
        if body is None:
            self.sent_bytes = len(data)
            self.client.send(head + data)
            self._ended(answer.keep)
        else:
            self._pass_on(head, data, body)

    def more(self, data: bytes, body: Body) -> None:
        self._pass_on(b"", data, body)

    def _pass_on(self, head: bytes, data: bytes, body: Body) -> None:
        client = self.client
        self.sent_bytes += len(data)
        if self._chunks:
            data = chunk(data) if data else b""
            if body.done:
                data += last_chunk(body.trailers)
        if head or data:
            client.send(head + data)
        if body.done:
            self._ended(self._app_stands and not body.rest)
        elif not client.full:
            self._await_more(self._factory.seconds())

    def _ended(self, clean: bool) -> None:
        """The answer is complete. ``clean``: the app's connection can carry another request."""
        app, self._app = self._app, None
        uploading = self._uploading
        if app is not None:
            if uploading or app.full:
                app.abort()
            elif clean:
                app.release()
                self._factory.pool.keep(app)
            else:
                app.close()
        self._finish(self._keep and not uploading)

    def client_full(self) -> None:
        """The client takes the answer more slowly than it comes."""
        self._unsent = unsent(self.client.transport)
        self.client.deadline = self._factory.seconds() + self._factory.settings.stalled
        if self._app is not None:
            self._app.pause()

    def client_drained(self) -> None:
        self._await_more(self._factory.seconds())
        if self._app is not None:
            self._app.resume()

    def switched(self, answer: Answer, rest: bytes) -> None:
        app, decision = self._app, self.decision
        if not self.request.upgrade or app is None or decision is None:
            self.garbage()
            return
        self.status = 101
        decision.count.add(101, self._factory.seconds() - self.began)
        self.client.send(messages.switched(self.request, answer, decision.cookie, self.request_id))
        Tunnel(self.client, app, self).start(self.client.take_held(), rest)

    # -- what goes wrong

    def garbage(self) -> None:
        self._fail(502, errors.BAD_ANSWER)

    def client_ended(self) -> None:
        """The client sends no more; it may still want its answer."""
        if self._uploading:
            self.client.abort()

    def client_lost(self) -> None:
        self._drop_app()
        self._finish(False)

    def expired(self, now: float) -> None:
        """The present phase has taken too long."""
        app = self._app
        if self.target is None:
            self._look_again()
        elif app is None:
            # The connection being made has its own limit.
            self.client.deadline = now + self._factory.settings.connect
        elif self.client.full:
            self._unless_moved(self.client.transport, now)
        elif self._uploading and app.full:
            self._unless_moved(app.transport, now)
        elif self._uploading:
            # Also if the app has begun to answer: it waits for the client, and did nothing wrong.
            self._drop_app()
            self.refuse(408, errors.SLOW_REQUEST)
        else:
            self._fail(504, errors.TOO_SLOW)

    def _unless_moved(self, transport: object, now: float) -> None:
        """Go on if the other side has taken anything since the last look."""
        waiting, self._unsent = unsent(transport), self._unsent
        if waiting >= 0 and waiting != self._unsent:
            self._unsent = waiting
            self.client.deadline = now + self._factory.settings.stalled
        elif self.client.full:
            self._drop_app()
            self.client.abort()
        else:
            self._fail(504, errors.TOO_SLOW)

    def tunnel_over(self) -> None:
        self._app = None
        self._finish(False)
