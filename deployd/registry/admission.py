"""Who may read over HTTP: the one place that decides it, before any resource is looked up.

Note [A token in the path]
~~~~~~~~~~~~~~~~~~~~~~~~~~
Apps are told the registry's URL and should need to know no more, whether it is private or not. But neither Node's fetch
nor Python's urllib takes a URL with a user name or password in it, so the token of such URLs is in their path:
``/token/TOKEN/v1/ports``. It is taken out here, and no resource, log or metric sees it.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from attrs import field, frozen
from twisted.web.server import Request

from deployd.net.secret import Secret
from deployd.registry.answers import Sendable
from deployd.registry.site import BadRequest, JsonResource, JsonSite

OPEN_PATH = b"/healthz"
_IN_PATH = b"token"


@frozen
class Admission:
    """``private``: reading is for those who know the secret or the read token that is derived from it."""

    private: bool = False
    secret: Secret | None = field(default=None, repr=False)

    def admits(self, request: Request) -> bool:
        """Takes a token that is in the request's path out of it. A wrong one is refused, also where all is open."""
        token = _taken_from_path(request)
        if token is not None:
            return self._is_token(token)
        return not self.private or request.path == OPEN_PATH or self._is_proved(request)

    def _is_proved(self, request: Request) -> bool:
        headers = request.requestHeaders.getRawHeaders(b"authorization", [])
        if len(headers) != 1:
            return False
        scheme, _, value = headers[0].strip().partition(b" ")
        if scheme.lower() == b"bearer":
            return self._is_token(value.strip())
        if scheme.lower() != b"basic":
            return False
        try:
            password = b64decode(value.strip(), validate=True).partition(b":")[2]
        except Error:
            return False
        return self._is_secret(password) or self._is_token(password)

    def _is_secret(self, offered: bytes) -> bool:
        return self.secret is not None and self.secret.matches(offered)

    def _is_token(self, offered: bytes) -> bool:
        """Takes as long whatever differs."""
        if self.secret is None:
            return False
        return compare_digest(sha256(offered).digest(), sha256(self.secret.read_token().encode()).digest())


class AdmittingSite(JsonSite):
    """A JsonSite that lets only those in whom ``admission`` admits."""

    def __init__(self, admission: Admission, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._admission = admission
        self.is_public = not admission.private

    def getResourceFor(self, request: Any) -> Any:
        if self._admission.admits(request):
            return super().getResourceFor(request)
        request.site = self
        return Closed()


class Closed(JsonResource):
    """401, whatever was asked for and however."""

    isLeaf = True

    async def _admitted(self, request: Any) -> Sendable:
        schemes = [b'Basic realm="deployd registry", charset="UTF-8"', b'Bearer realm="deployd registry"']
        request.responseHeaders.setRawHeaders(b"www-authenticate", schemes)
        raise BadRequest("this registry is private: give the secret as password, or a read token", 401)


def _taken_from_path(request: Any) -> bytes | None:
    """The token (Note [A token in the path]); None when the path has none."""
    if request.path.split(b"/")[1:2] != [_IN_PATH]:
        return None
    parts = request.path.split(b"/", 3)
    token = parts[2] if len(parts) > 2 else b""
    path = b"/" + (parts[3] if len(parts) > 3 else b"")
    query = request.uri.partition(b"?")
    request.path, request.uri = path, path + query[1] + query[2]
    request.postpath = request.postpath[2:]
    return token
