"""A request on its way to a target, perhaps to another one.

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

from deployd.errors import Busy
from deployd.router.decision import Decision, Refusal
from deployd.router.http import errors, messages
from deployd.router.http.bodies import BadBody
from deployd.router.http.heads import Request
from deployd.router.http.sockets import unsent
from deployd.router.http.upload import Upload
from deployd.router.http.upstream import AppConnection, Asking
from deployd.router.http.waiting import Waiting
from deployd.router.target import Target

if TYPE_CHECKING:
    from deployd.router.http.connection import ClientConnection

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
NONE_TRIED: tuple[Target, ...] = ()


class Outward(Asking):
    """The half of an Exchange that ends when the app has the request, or when nobody can be given it.

    ``status`` is that of the answer once its head is sent; ``asked`` counts the targets that it was given to.
    """

    __slots__ = (
        "_app",
        "_app_stands",
        "_chunks",
        "_factory",
        "_head",
        "_keep",
        "_over",
        "_point",
        "_sent",
        "_tried",
        "_unsent",
        "_upload",
        "_waiting",
        "asked",
        "began",
        "client",
        "decision",
        "method",
        "request",
        "request_id",
        "sent_bytes",
        "status",
        "target",
    )

    def __init__(self, client: ClientConnection, request: Request, now: float) -> None:
        factory = self._factory = client.factory
        self.client = client
        self.request = request
        self.method = request.method
        self.began = now
        self.decision: Decision | None = None
        self.target: Target | None = None
        self.status = self.asked = self.sent_bytes = 0
        self._app: AppConnection | None = None
        self._tried = NONE_TRIED
        # How often it was sent; of the body, None once it was read whole or if there is none.
        self._sent = 0
        self._upload = Upload(request.length, factory.settings.replay) if request.length else None
        self._waiting: Waiting | None = None
        self._keep = self._chunks = self._app_stands = self._over = False
        self._unsent = -1
        added, self.request_id = client.origin.lines(request.field, request.claims, factory.new_id())
        self._head = messages.to_app(request, added)
        self._point = factory.random()

    # -- to a target

    def start(self, now: float) -> None:
        if self.request.target == b"*":
            self.refuse(200, "Every method may be used here.")
        else:
            self._decide(now)

    def _decide(self, now: float) -> None:
        request, factory = self.request, self._factory
        path = request.target.partition(b"?")[0]
        decision = factory.table.decide(request.host, path, request.commit, request.cookies, now, self._point)
        if isinstance(decision, Refusal):
            self.refuse(decision.status, decision.reason)
            return
        self.decision = decision
        if decision.redirect and not self.client.origin.is_secure(request.claims):
            self._redirect()
            return
        target = decision.target(now, self._tried)
        if target is None:
            self._wait(now)
            return
        self._stop_waiting()
        factory.table.begin(target)
        self.target = target
        self.asked += 1
        self._tried += (target,)
        connection = factory.pool.take(target, now, self.method not in IDEMPOTENT) if target.idle else None
        if connection is None:
            factory.pool.connect(target, self)
        else:
            self._send(connection, now)

    def _wait(self, now: float) -> None:
        if self._waiting is None:
            self._waiting = Waiting(now + self._factory.settings.target, self._look_again)
        try:
            if now < self._waiting.limit:
                self._waiting.wait(now, self._factory.table.when_changed)
                self.client.deadline = self._waiting.deadline
                return
        except Busy:
            pass
        self.refuse(503, errors.NO_TARGET)

    def _look_again(self) -> None:
        if not self._over and self.target is None:
            self._tried = NONE_TRIED
            self._decide(self._factory.seconds())

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None

    def connected(self, connection: AppConnection) -> bool:
        if self._over or self.target is not connection.target or self._app is not None:
            return False
        self._send(connection, self._factory.seconds())
        return True

    def unreachable(self, target: Target) -> None:
        if not self._over and self.target is target:
            self._try_another(target)

    def _send(self, connection: AppConnection, now: float) -> None:
        """The head, and what there is of the body."""
        self._app = connection
        connection.carry(self)
        self._sent += 1
        upload = self._upload
        if upload is None:
            connection.write(self._head)
            self.client.deadline = now + self._factory.settings.answer
            return
        connection.write(self._head + (upload.replay or b""))
        self._await_more(now)
        self._take_held()

    def _await_more(self, now: float) -> None:
        """The deadline of what comes next, as far as the client's side goes."""
        settings = self._factory.settings
        if self._upload is not None and not self._upload.done:
            self.client.deadline = now + settings.body
        else:
            self.client.deadline = now + (settings.progress if self.status else settings.answer)

    def _leave(self) -> None:
        """The target has nothing more to do with this."""
        target, self.target = self.target, None
        if target is not None:
            self._factory.table.end(target)

    # -- the request's body

    @property
    def _uploading(self) -> bool:
        return self._upload is not None and not self._upload.done

    def from_client(self, data: bytes) -> None:
        upload, app = self._upload, self._app
        if upload is None or upload.done or app is None or app.full:
            self.client.hold(data)
            return
        try:
            out = upload.feed(data)
        except BadBody:
            self._drop_app()
            self.refuse(400, errors.BAD_BODY)
            return
        if upload.done and upload.rest:
            self.client.hold(upload.rest)
        self._await_more(self._factory.seconds())
        if out:
            app.write(out)

    def _take_held(self) -> None:
        """Go on with what came while it could not be sent."""
        data = self.client.take_held()
        if data:
            self.from_client(data)
        if self._uploading and self._app is not None and not self._app.full:
            self.client.resume()

    def app_full(self) -> None:
        if self._uploading and self._app is not None:
            self._unsent = unsent(self._app.transport)
            self.client.pause()
            self.client.deadline = self._factory.seconds() + self._factory.settings.stalled

    def app_drained(self) -> None:
        if self._uploading:
            self._await_more(self._factory.seconds())
            self._take_held()

    # -- what goes wrong

    def lost(self, connection: AppConnection, begun: bool) -> None:
        self._app = None
        target = self.target
        if target is None:
            return
        at_hand = self._upload is None or self._upload.replay is not None
        if begun or self.status or self.method not in IDEMPOTENT or not at_hand:
            self._fail(502, errors.UNREACHABLE)
        elif connection.used and not target.gone:
            # Only the connection was stale, the target may be well.
            self._factory.pool.connect(target, self)
        elif self._sent < self._factory.settings.tries:
            self._try_another(target)
        else:
            self._fail(502, errors.UNREACHABLE)

    def _try_another(self, target: Target) -> None:
        now = self._factory.seconds()
        self._factory.table.failed(target, now)
        self._leave()
        self._decide(now)

    def _fail(self, status: int, sentence: str) -> None:
        """The target did not do its work."""
        if self.target is not None:
            self._factory.table.failed(self.target, self._factory.seconds())
        self._drop_app()
        self.refuse(status, sentence)

    def _drop_app(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            app.abort()

    def refuse(self, status: int, sentence: str, location: bytes = b"") -> None:
        """The router answers; if the app has begun to, half an answer must not look like a whole one."""
        if self.status:
            self.client.abort()
            return
        self.status = status
        if self.decision is not None:
            self.decision.count.add(status, self._factory.seconds() - self.began)
        keep = self.request.keep and not self._uploading and not self._factory.draining
        head_only = self.method == b"HEAD"
        self.client.send(errors.own_answer(status, sentence, self.request_id, keep, head_only, location))
        self._drop_app()
        self._finish(keep)

    def _redirect(self) -> None:
        if not self.request.host:
            # Without a name the path would be taken for one.
            self.refuse(400, errors.NO_HOST)
            return
        port = self._factory.settings.https_port
        host = self.request.host + (b"" if port == 443 else b":%d" % port)
        self.refuse(308, "This is served over HTTPS.", b"https://" + host + self.request.target)

    def _finish(self, keep: bool) -> None:
        if self._over:
            return
        self._over = True
        self._stop_waiting()
        self._factory.tell(self)
        self._leave()
        self.client.exchange_over(keep, unread=self._uploading)
